"""Moments and learning rates against gradients taken by the complex step."""

import numpy as np
import pytest

from official_ext import growth
from official_ext.growth import transfer
from tests.growth import numpy_bert

SOURCE = growth.Architecture(
    num_layers=1, hidden_size=4, num_heads=1, head_size=2, inner_size=4,
    vocab_size=5, max_positions=4, ffn_sharing=2)
TARGET = growth.Architecture(
    num_layers=1, hidden_size=8, num_heads=3, head_size=2, inner_size=5,
    vocab_size=5, max_positions=4)


@pytest.fixture(scope='module')
def inputs():
  return numpy_bert.random_inputs(SOURCE, length=4, predictions=2)


def test_moments_grow_as_gradients_do(inputs):
  weights = numpy_bert.random_weights(growth.weight_specs(SOURCE))
  before = numpy_bert.gradient(weights, inputs, range(1))
  grown = growth.grow(weights, SOURCE, TARGET, noise_scale=0.0)
  after = numpy_bert.gradient(grown, inputs, range(1))
  first, second = growth.grow_moments(
      before, {name: g * g for name, g in before.items()}, SOURCE, TARGET)
  for name, gradient in after.items():
    np.testing.assert_allclose(
        first[name], gradient, rtol=1e-9, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(
        second[name], gradient ** 2, rtol=1e-9, atol=1e-14, err_msg=name)


def test_depth_copies_moments():
  deep = SOURCE.replace(num_layers=2)
  moments = numpy_bert.random_weights(growth.weight_specs(SOURCE))
  first, second = growth.grow_moments(moments, moments, SOURCE, deep)
  for grown in (first, second):
    assert set(grown) == set(growth.weight_specs(deep))
    np.testing.assert_array_equal(
        grown['layer_1/ffn/inner/kernel'], moments['layer_0/ffn/inner/kernel'])


def test_grown_model_follows_the_small_one_under_adam(inputs):
  """Mapped moments and rates: the grown run stays the copy of the small run."""
  maps = growth.maps_between(SOURCE, TARGET)
  rates = growth.learning_rate_multipliers(growth.weight_specs(TARGET), maps)
  small = numpy_bert.random_weights(growth.weight_specs(SOURCE))
  zeros = {name: np.zeros_like(array) for name, array in small.items()}
  state = _adam(small, (zeros, zeros), inputs, {}, steps=range(1, 3))
  grown = growth.grow(state[0], SOURCE, TARGET, noise_scale=0.0)
  moments = growth.grow_moments(*state[1], SOURCE, TARGET)
  small = _adam(*state, inputs, {}, steps=range(3, 6))[0]
  grown = _adam(grown, moments, inputs, rates, steps=range(3, 6))[0]
  expected = transfer.grow_weights(small, growth.weight_specs(TARGET), maps)
  assert growth.compare(expected, grown, tolerance=1e-9).holds


def _adam(weights, moments, inputs, rates, steps):
  """AdamW without bias correction for brevity; epsilon 0 but for dead weights."""
  weights, first, second = dict(weights), dict(moments[0]), dict(moments[1])
  for _ in steps:
    gradients = numpy_bert.gradient(weights, inputs, range(1))
    for name, gradient in gradients.items():
      # Key biases have no gradient but rounding; Adam would blow it up.
      gradient = np.where(np.abs(gradient) < 1e-13, 0.0, gradient)
      first[name] = 0.9 * first[name] + 0.1 * gradient
      second[name] = 0.99 * second[name] + 0.01 * gradient ** 2
      step = first[name] / np.sqrt(second[name] + (second[name] == 0))
      weights[name] = weights[name] * (1 - 1e-4) - (
          1e-2 * rates.get(name, 1.0) * step)
  return weights, (first, second)
