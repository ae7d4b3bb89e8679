"""Learning rates and weight decay, stage by stage."""

import math

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


def expected_rate(schedule, restart, start, step, *, num_steps, warmup,
                  growth_warmup, decay_fraction):
  """The rate of step `start + step` of a run, in a stage that begins at `start`."""
  elapsed = start + step if restart == 'continuous' else step
  total = num_steps - start if restart == 'peak' else num_steps
  rate = {
      'linear': 1 - elapsed / total,
      'cosine': (1 + math.cos(math.pi * elapsed / total)) / 2,
      'wsd': min(1, (total - elapsed) / (decay_fraction * num_steps)),
      'constant': 1.0}[schedule]
  warmup_steps = warmup if not start or restart == 'stage' else growth_warmup
  if step < warmup_steps:
    rises_to = rate if restart == 'continuous' and start else 1.0
    return rises_to * step / warmup_steps
  return rate


@pytest.mark.parametrize('restart', ['peak', 'continuous', 'stage'])
@pytest.mark.parametrize('schedule', ['linear', 'cosine', 'wsd', 'constant'])
def test_rate_of_every_step(schedule, restart):
  make = StageOptimizer(
      num_steps=100, peak_learning_rate=1.0, schedule=schedule, restart=restart,
      decay_fraction=0.2, warmup_steps=10, growth_warmup_steps=5)
  for start, end in ((0, 30), (30, 70), (70, 101)):
    expected = [
        expected_rate(schedule, restart, start, step, num_steps=100, warmup=10,
                      growth_warmup=5, decay_fraction=0.2)
        for step in range(end - start)]
    np.testing.assert_allclose(
        rates(make, start, range(end - start)), expected, atol=1e-6)


def test_wsd_is_zero_at_the_end_and_at_the_peak_until_it_decays():
  make = StageOptimizer(num_steps=100, peak_learning_rate=1.0, schedule='wsd')
  np.testing.assert_allclose(
      rates(make, 0, [0, 90, 95, 100]), [1.0, 1.0, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize('name', ['adamw', 'lamb'])
def test_betas_and_epsilon_reach_the_optimizer(name):
  optimizer = StageOptimizer(
      num_steps=10, name=name, beta_1=0.8, beta_2=0.98, epsilon=1e-5)()
  config = optimizer.get_config()
  assert (config['beta_1'], config['beta_2'], config['epsilon']) == (
      0.8, 0.98, 1e-5)


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


@pytest.mark.parametrize('field, value', [
    ('schedule', 'step'), ('restart', 'never')])
def test_unknown_choice_is_named(field, value):
  with pytest.raises(ValueError, match=f'{field} is {value!r}; expected one of'):
    StageOptimizer(num_steps=10, **{field: value})
