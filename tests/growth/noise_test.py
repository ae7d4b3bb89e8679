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


@pytest.mark.parametrize('width, has_equals', [
    ('fpi', True), ('aki', True), ('aki_literal', True), ('net2net', True),
    ('direct_copy', False)])
def test_noise_falls_on_equal_copies_only(width, has_equals):
  source = growth.Architecture(
      num_layers=2, hidden_size=3, num_heads=2, head_size=4, inner_size=4,
      vocab_size=5, max_positions=4)
  target = source.replace(num_heads=6, head_size=4, inner_size=12)
  rng = np.random.default_rng(0)
  weights = {name: rng.normal(size=spec.shape)
             for name, spec in growth.weight_specs(source).items()}
  plain, noisy = (
      growth.grow(weights, source, target, width=width, noise_scale=scale)
      for scale in (0.0, 0.1))
  for name in ('attention/output/kernel', 'ffn/output/kernel'):
    for layer in range(2):
      before, after = (
          grown[f'layer_{layer}/{name}'] for grown in (plain, noisy))
      rows = before.reshape(len(before), -1)
      is_equal = np.array([
          (rows == row).all(axis=1).sum() > 1 for row in rows])
      moved = (before != after).reshape(len(before), -1).any(axis=1)
      np.testing.assert_array_equal(moved, is_equal)
      assert is_equal.any() == has_equals
      # Units that AKI takes once, from the layer itself, are left alone.
      # By AKI's formula all rows are FPI's: heads alone come from above.
      assert is_equal.all() == (
          width in ('fpi', 'aki_literal') or width == 'aki' and layer == 1
      ) or width == 'net2net'


@pytest.mark.parametrize('family, name', [
    ('bert', 'masked_lm/norm/gamma'), ('gpt', 'final_norm/gamma')])
def test_the_norm_before_the_decoder_gets_noise_too(family, name):
  """Its copies of a unit are summed by the tied decoder, so it stays exact."""
  source = growth.Architecture(
      family=family, num_layers=1, hidden_size=4, num_heads=2, inner_size=4,
      vocab_size=5, max_positions=4)
  target = source.replace(hidden_size=8, head_size=2)
  rng = np.random.default_rng(0)
  weights = {name: rng.normal(size=spec.shape)
             for name, spec in growth.weight_specs(source).items()}
  grown = growth.grow(weights, source, target)[name]
  assert (grown[:4] != grown[4:]).all()
  np.testing.assert_allclose(grown[:4] + grown[4:], weights[name], rtol=1e-14)
