"""Every kind of stage compiles, whole step, with static shapes."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext import modeling
from official_ext.modeling import weights
from tests.modeling import tiny_bert

_STAGES = {
    # The block whose queries are pooled is the last one too.
    'one treated block': tiny_bert.SHALLOW_TREATED,
    'treated': tiny_bert.TREATED,
    'plain': tiny_bert.PLAIN,
}


@pytest.mark.parametrize('stage', _STAGES)
def test_a_training_step_compiles_to_the_same_numbers(stage):
  batch = tiny_bert.features(lengths=[16, 16, 9, 7], counts=[4, 1, 2, 1])
  start = None
  results = []
  for jit_compile in (False, True):
    model = modeling.GrowingBertPretrainer(
        _STAGES[stage], **tiny_bert.NO_DROPOUT)
    model.compile(optimizer=tiny_bert.adamw(1e-3), jit_compile=jit_compile)
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    # `fit` marks the whole step, forward, backward and optimizer, for XLA,
    # which refuses shapes that are not static.
    logs = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    results.append((logs, weights.read_weights(model)))
  (logs, plain), (xla_logs, compiled) = results
  for name, values in logs.items():
    assert xla_logs[name] == pytest.approx(values, abs=1e-5), name
  for name, value in plain.items():
    np.testing.assert_allclose(
        compiled[name], value, atol=2e-4, err_msg=name)


def test_max_pooling_and_dropout_compile():
  model = modeling.GrowingBertPretrainer(
      tiny_bert.SHALLOW_TREATED, query_pool_type='max')
  model.compile(optimizer=tiny_bert.adamw(), jit_compile=True)
  logs = model.fit(
      tf.data.Dataset.from_tensors(tiny_bert.features()), verbose=0).history
  assert np.isfinite(logs['loss'][0])
