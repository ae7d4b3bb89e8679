"""Moments and learning rates against gradients taken by the complex step."""

import numpy as np
import pytest

from official_ext import growth
from official_ext.growth import transfer
from tests.growth import numpy_bert
from tests.growth import rule_properties

SOURCE = growth.Architecture(
    num_layers=1, hidden_size=4, num_heads=1, head_size=2, inner_size=4,
    vocab_size=5, max_positions=4, ffn_sharing=2)


def test_depth_copies_moments():
  deep = SOURCE.replace(num_layers=2)
  moments = numpy_bert.random_weights(growth.weight_specs(SOURCE))
  first, second = growth.grow_moments(moments, moments, SOURCE, deep)
  for grown in (first, second):
    assert set(grown) == set(growth.weight_specs(deep))
    np.testing.assert_array_equal(
        grown['layer_1/ffn/inner/kernel'], moments['layer_0/ffn/inner/kernel'])


@pytest.mark.parametrize('family, width, changes', [
    ('bert', 'fpi', dict(hidden_size=8, inner_size=5)),
    ('bert', 'net2net', dict(hidden_size=8, inner_size=5)),
    ('bert', 'fpi', dict(hidden_size=6, norm_source_size=4)),
    ('gpt', 'fpi', dict(hidden_size=8, inner_size=5)),
    ('gpt', 'fpi', dict(hidden_size=6, norm_source_size=4)),
])
def test_grown_model_follows_the_small_one_under_adam(family, width, changes):
  """Mapped moments and rates: the grown run stays the copy of the small run."""
  source = rule_properties.SMALL[family].replace(
      num_layers=1, num_heads=1, head_size=2, vocab_size=5, max_positions=4,
      inner_size=3)
  target = source.replace(num_heads=3, head_size=2, **changes)
  inputs = rule_properties.MODELS[family].random_inputs(source, length=4)
  rules = dict(width=width, seed=7)
  maps = growth.maps_between(source, target, **rules)
  rates = growth.learning_rate_multipliers(growth.weight_specs(target), maps)
  assert set(rates) == set(growth.weight_specs(target))
  small, _ = rule_properties.make(source)
  zeros = {name: np.zeros_like(array) for name, array in small.items()}
  state = _adam(small, (zeros, zeros), source, inputs, {}, steps=2)
  grown = growth.grow(state[0], source, target, noise_scale=0.0, **rules)
  moments = growth.grow_moments(*state[1], source, target, **rules)
  small = _adam(*state, source, inputs, {}, steps=2)[0]
  grown = _adam(grown, moments, target, inputs, rates, steps=2)[0]
  expected = transfer.grow_weights(small, growth.weight_specs(target), maps)
  assert growth.compare(expected, grown, tolerance=1e-9).holds


@pytest.mark.parametrize('width, expected', [
    # 2 units, 5 of them afterwards: units 0 and 1 have 3 and 2 copies.
    ('fpi', [1 / 3, 1 / 2, 1 / 3, 1 / 2, 1 / 3]),
    ('aki', [1 / 3, 1 / 2, 1 / 3, 1 / 2, 1 / 3]),
    ('aki_literal', [1 / 3, 1 / 2, 1 / 3, 1 / 2, 1 / 3]),
    ('direct_copy', [1, 1, 1, 1, 1]),
])
def test_rates_are_the_shares(width, expected):
  source = SOURCE.replace(num_layers=2)
  target = source.replace(inner_size=5, ffn_sharing=1)
  rates = growth.learning_rate_multipliers(
      growth.weight_specs(target),
      growth.maps_between(source, target, width=width))
  for layer in range(2):
    np.testing.assert_allclose(
        rates[f'layer_{layer}/ffn/output/kernel'], np.c_[expected], rtol=1e-15)
    np.testing.assert_array_equal(rates[f'layer_{layer}/ffn/inner/kernel'], 1)


def _adam(weights, moments, architecture, inputs, rates, steps):
  """AdamW without bias correction for brevity; epsilon 0 but for dead weights."""
  weights, first, second = dict(weights), dict(moments[0]), dict(moments[1])
  for _ in range(steps):
    gradients = rule_properties.gradients(weights, architecture, inputs)
    for name, gradient in gradients.items():
      # Key biases have no gradient but rounding; Adam would blow it up.
      gradient = np.where(np.abs(gradient) < 1e-13, 0.0, gradient)
      first[name] = 0.9 * first[name] + 0.1 * gradient
      second[name] = 0.99 * second[name] + 0.01 * gradient ** 2
      step = first[name] / np.sqrt(second[name] + (second[name] == 0))
      weights[name] = weights[name] * (1 - 1e-4) - (
          1e-2 * rates.get(name, 1.0) * step)
  return weights, (first, second)
