"""Learning rates and weight decay, stage by stage."""

import numpy as np
import pytest

from official_ext.training.stage_optimizer import StageOptimizer


def rates(stage_optimizer, start_step, iterations, first_iteration=0):
  schedule = stage_optimizer.learning_rate(start_step, first_iteration)
  return [float(schedule(iteration)) for iteration in iterations]


def test_first_stage_warms_up_and_decays_to_zero_at_the_end_of_the_run():
  make = StageOptimizer(num_steps=100, peak_learning_rate=1.0, warmup_steps=10)
  np.testing.assert_allclose(
      rates(make, 0, [0, 5, 10, 50, 100]), [0.0, 0.5, 0.9, 0.5, 0.0],
      atol=1e-6)


def test_later_stage_restarts_at_the_peak_without_warmup():
  make = StageOptimizer(num_steps=100, peak_learning_rate=1.0, warmup_steps=10)
  np.testing.assert_allclose(
      rates(make, 60, [0, 20, 40]), [1.0, 0.5, 0.0], atol=1e-6)


def test_growth_warmup_only_where_told():
  make = StageOptimizer(
      num_steps=100, peak_learning_rate=1.0, growth_warmup_steps=4)
  assert rates(make, 60, [0, 2])[:2] == [0.0, 0.5]
  assert rates(make, 0, [0]) == [1.0]


def test_transferred_optimizer_counts_on():
  make = StageOptimizer(num_steps=100, peak_learning_rate=1.0)
  np.testing.assert_allclose(
      rates(make, 60, [60, 80, 100], first_iteration=60), [1.0, 0.5, 0.0],
      atol=1e-6)


@pytest.mark.parametrize('name', ['adamw', 'lamb'])
def test_excludes_norms_and_biases_from_weight_decay(name):
  optimizer = StageOptimizer(num_steps=10, name=name)()
  decays = optimizer._do_use_weight_decay
  assert decays('bert/transformer/layer_0/self_attention/query/kernel:0')
  for excluded in ('bert/transformer/layer_0/self_attention/query/bias:0',
                   'bert/embeddings/layer_norm/gamma:0',
                   'bert/cls/predictions/transform/LayerNorm/beta:0',
                   'bert/cls/predictions/output_bias/bias:0'):
    assert not decays(excluded)


def test_unknown_optimizer_is_named():
  with pytest.raises(ValueError, match="optimizer is 'sgd'; expected one of"):
    StageOptimizer(num_steps=10, name='sgd')
