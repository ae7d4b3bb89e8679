"""Weights of a LayerNorm that keeps the statistics of the smaller model."""

import numpy as np
import pytest

from official_ext import growth


@pytest.mark.parametrize('source_size, size', [(4, 7), (3, 9), (5, 5), (3, 8)])
def test_statistics_are_those_of_the_small_model(source_size, size):
  weights = growth.norm_unit_weights(source_size, size)
  assert weights.dtype == np.float64 and weights.shape == (size,)
  assert abs(weights.sum() - 1) < 1e-15
  small = np.random.default_rng(0).normal(size=source_size)
  wide = small[[unit % source_size for unit in range(size)]]
  mean = (weights * wide).sum()
  np.testing.assert_allclose(mean, small.mean(), rtol=1e-14)
  np.testing.assert_allclose(
      (weights * (wide - mean) ** 2).sum(), small.var(), rtol=1e-14)


def test_weights_are_those_of_the_formula():
  np.testing.assert_allclose(
      growth.norm_unit_weights(2, 3), [1 / 4, 1 / 2, 1 / 4], rtol=1e-15)


@pytest.mark.parametrize('source_size, size', [(0, 3), (4, 3)])
def test_sizes_that_make_no_sense_are_refused(source_size, size):
  with pytest.raises(
      ValueError, match=f'source_size {source_size} and size {size}; give'):
    growth.norm_unit_weights(source_size, size)
