"""Growing a GPT: what each operator makes of its logits and of its training."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext import growth
from official_ext.modeling import weights
from tests.growth import numpy_gpt
from tests.modeling import tiny_bert
from tests.modeling import tiny_gpt

WIDER = dict(hidden_size=16, num_heads=4, inner_size=32)
# Changes, width rule, depth rule, whether the function must be preserved.
_GROWTHS = {
    'fpi': (WIDER, 'fpi', 'append', True),
    'fpi, inner and heads to no multiple': (
        dict(hidden_size=16, num_heads=5, head_size=4, inner_size=28), 'fpi',
        'append', True),
    'net2net': (WIDER, 'net2net', 'append', True),
    'sharing ends': (dict(ffn_sharing=1), 'fpi', 'append', True),
    'fpi to no multiple, weighted LayerNorms': (
        dict(hidden_size=12, num_heads=3, inner_size=24, norm_source_size=8),
        'fpi', 'append', True),
    'fpi to no multiple': (
        dict(hidden_size=12, num_heads=3, inner_size=24), 'fpi', 'append',
        False),
    'identity': (dict(num_layers=5), 'fpi', 'identity', True),
    'fpi and identity': (
        dict(**WIDER, num_layers=3), 'fpi', 'identity', True),
    'aki': (WIDER, 'aki', 'append', False),
    'aki, its formula': (WIDER, 'aki_literal', 'append', False),
    'direct copy': (WIDER, 'direct_copy', 'append', False),
    'append': (dict(num_layers=4), 'fpi', 'append', False),
    'interleave': (dict(num_layers=4), 'fpi', 'interleave', False),
    'bert2bert': (dict(**WIDER, num_layers=5), 'aki', 'top', False),
}


def _model(architecture=tiny_gpt.SHARED):
  return tiny_gpt.pretrainer(architecture, **tiny_gpt.NO_DROPOUT)


def _grow(model, target, **rules):
  grown = growth.grow(
      weights.read_weights(model), model.architecture, target, **rules)
  model.replace_architecture(target)
  weights.write_weights(model, grown)
  return grown


@pytest.mark.parametrize('name', _GROWTHS)
def test_growth(name):
  changes, width, depth, preserves = _GROWTHS[name]
  model = _model()
  target = tiny_gpt.SHARED.replace(**changes)
  assert growth.weight_growth_preserves(
      tiny_gpt.SHARED, target, width=width, depth=depth) == preserves
  batch = tiny_gpt.features(batch=2)
  before = model.comparison_logits(batch).numpy()
  grown = _grow(model, target, width=width, depth=depth)
  after = model.comparison_logits(batch).numpy()
  if preserves:
    # Between float32 and its own rounding; the noise sums to zero.
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
  else:
    assert np.abs(after - before).max() > 1e-2
  # Whatever it computes, it computes it with exactly the grown weights.
  expected = numpy_gpt.logits(grown, target, batch['input_word_ids'][0].numpy())
  np.testing.assert_allclose(after[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow  # methods_test.py has GPTs on two replicas, uncompiled.
def test_two_replicas_agree_with_one_through_a_growth(mirrored):
  target = tiny_gpt.PLAIN.replace(**WIDER, num_layers=3)
  start = None
  results = []
  for strategy in (tf.distribute.get_strategy(), mirrored):
    with strategy.scope():
      model = _model()
      model.compile(optimizer=tiny_bert.adamw(1e-3))
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    _fit(model, 0)
    moments = growth.grow_moments(
        *weights.read_moments(model.optimizer, model), tiny_gpt.SHARED, target)
    with strategy.scope():
      _grow(model, target)
      iterations = model.optimizer.iterations.numpy()
      model.optimizer = tiny_bert.adamw(1e-3)
      weights.write_moments(model.optimizer, model, *moments)
      model.optimizer.iterations.assign(iterations)
    logs = _fit(model, 1)
    results.append((logs, weights.read_weights(model)))
  (one_logs, one), (two_logs, two) = results
  assert two_logs['loss'] == pytest.approx(one_logs['loss'], rel=1e-4)
  for name, value in one.items():
    np.testing.assert_allclose(two[name], value, atol=1e-4, err_msg=name)


def _fit(model, seed):
  batch = tiny_gpt.features(seed=seed, lengths=[16, 16, 9, 7])
  return model.fit(
      tf.data.Dataset.from_tensors(batch).repeat(2), verbose=0).history


@pytest.mark.parametrize('noise_scale', [0.0, 0.1])
def test_copies_separate_with_noise_only(noise_scale):
  model = _model()
  model.compile(optimizer=tiny_bert.adamw())
  _grow(model, tiny_gpt.PLAIN, noise_scale=noise_scale)
  model.optimizer = tiny_bert.adamw()
  for seed in range(5):
    _fit(model, seed)
  kernel = weights.read_weights(model)['layer_0/ffn/inner/kernel']
  size = tiny_gpt.SHARED.stored_inner_size
  differences = np.abs(kernel[:, size:2 * size] - kernel[:, :size]).max()
  assert (differences > 1e-3) == bool(noise_scale)
  assert (differences < 1e-6) == (not noise_scale)


def test_factors_are_multiplied_out():
  factorised = tiny_gpt.PLAIN.replace(ffn_rank=3)
  model = _model(factorised)
  batch = tiny_gpt.features(batch=2)
  before = model.comparison_logits(batch).numpy()
  _grow(model, tiny_gpt.PLAIN.replace(**WIDER))
  np.testing.assert_allclose(
      model.comparison_logits(batch), before, rtol=1e-5, atol=1e-5)
