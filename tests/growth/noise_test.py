"""Zero-sum noise: cancels in the sum, and lets copies part ways."""

import numpy as np
import pytest

from official_ext import growth
from official_ext.growth import noise


@pytest.mark.parametrize('dtype, tolerance', [
    (np.float64, 1e-15), (np.float32, 1e-7)])
@pytest.mark.parametrize('sources', [(0, 1, 2, 0, 1, 2), (0, 1, 0, 0, 1, 2)])
def test_copies_keep_their_sum(sources, dtype, tolerance):
  unit_map = growth.UnitMap(sources)
  weight = np.random.default_rng(0).normal(size=(5, 6, 400)).astype(dtype)
  noisy = noise.add_zero_sum_noise(
      weight, 1, unit_map, 0.1, np.random.default_rng(1))
  assert noisy.dtype == dtype
  moved = np.zeros(6, bool)
  for unit in range(3):
    copies = [i for i, source in enumerate(sources) if source == unit]
    np.testing.assert_allclose(
        noisy[:, copies].sum(1, dtype=np.float64),
        weight[:, copies].sum(1, dtype=np.float64), rtol=0,
        atol=4 * tolerance)
    moved[copies] = len(copies) > 1
  difference = (noisy - weight).std((0, 2))
  np.testing.assert_allclose(difference[moved], 0.1 * weight.std(), rtol=0.1)
  np.testing.assert_array_equal(difference[~moved], 0)


@pytest.mark.parametrize('noise_scale', [0.0, 0.01])
def test_feed_forward_copies_separate_only_with_noise(noise_scale):
  source = growth.Architecture(
      num_layers=1, hidden_size=6, num_heads=2, inner_size=16, vocab_size=5,
      max_positions=4, ffn_sharing=4)
  rng = np.random.default_rng(0)
  weights = {name: rng.normal(size=spec.shape)
             for name, spec in growth.weight_specs(source).items()}
  grown = growth.grow(
      weights, source, source.untreated(), noise_scale=noise_scale)
  first, bias, second = (
      grown[f'layer_0/ffn/{name}']
      for name in ('inner/kernel', 'inner/bias', 'output/kernel'))
  assert len(np.unique(first, axis=1).T) == 4
  parameters = [first, bias, second]
  _train_feed_forward(parameters, rng)
  assert len(np.unique(parameters[0].T, axis=0)) == (16 if noise_scale else 4)
  assert len(np.unique(parameters[2], axis=0)) == (16 if noise_scale else 4)


def _train_feed_forward(parameters, rng, steps=20):
  """AdamW on 0.5 * |tanh(x A + b) B - y|^2, gradients by hand, in place."""
  moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
  x, y = rng.normal(size=(2, 32, 6))
  for step in range(1, steps + 1):
    kernel, bias, output = parameters
    inner = np.tanh(x @ kernel + bias)
    error = inner @ output - y
    back = (error @ output.T) * (1 - inner ** 2)
    gradients = (x.T @ back, back.sum(0), inner.T @ error)
    for parameter, gradient, (m, v) in zip(parameters, gradients, moments):
      # Products over tiles of a matrix may differ in the last bit by position.
      gradient = np.round(gradient, 9)
      m += 0.1 * (gradient - m)
      v += 0.001 * (gradient ** 2 - v)
      update = (m / (1 - 0.9 ** step)) / (
          np.sqrt(v / (1 - 0.999 ** step)) + 1e-6)
      parameter -= 1e-2 * (update + 0.01 * parameter)
