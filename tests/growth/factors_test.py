"""Factors multiplied out: the product, and the estimates of its moments."""

import numpy as np
import pytest

from official_ext import growth
from official_ext.growth import factors
from tests.growth import rule_properties

RANK, SIZE_IN, SIZE_OUT = 3, 7, 9
IN, OUT, WHOLE = 'x/kernel_in', 'x/kernel_out', 'x/kernel'


def _random(*shape, seed=0):
  return np.random.default_rng([seed, *shape]).normal(size=shape)


def test_first_moment_is_the_smallest_that_both_factors_saw():
  left, right = _random(SIZE_IN, RANK), _random(RANK, SIZE_OUT)
  mean = _random(SIZE_IN, SIZE_OUT)
  found = factors.multiply_out_first_moment(
      {IN: mean @ right.T, OUT: left.T @ mean}, {IN: left, OUT: right})[WHOLE]
  # The same by one least-norm solution of all the equations at once.
  equations = np.concatenate([
      np.kron(np.eye(SIZE_IN), right), np.kron(left.T, np.eye(SIZE_OUT))])
  seen = np.concatenate([(mean @ right.T).ravel(), (left.T @ mean).ravel()])
  expected = np.linalg.lstsq(equations, seen, rcond=None)[0]
  np.testing.assert_allclose(
      found, expected.reshape(mean.shape), rtol=0, atol=1e-9)


def test_first_moment_of_moved_factors_is_the_mean_of_both_accounts():
  left, right = _random(SIZE_IN, RANK), _random(RANK, SIZE_OUT)
  means = [_random(SIZE_IN, SIZE_OUT, seed=seed) for seed in (1, 2)]
  found = factors.multiply_out_first_moment(
      {IN: means[0] @ right.T, OUT: left.T @ means[1]},
      {IN: left, OUT: right})[WHOLE]
  columns = left @ np.linalg.pinv(left)
  rows = np.linalg.pinv(right) @ right
  others = (np.eye(SIZE_IN) - columns, np.eye(SIZE_OUT) - rows)
  expected = (0.5 * columns @ (means[0] + means[1]) @ rows
              + others[0] @ means[0] @ rows + columns @ means[1] @ others[1])
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_second_moment_is_exact_for_independent_entries_of_rank_one():
  left, right = _random(SIZE_IN, RANK), _random(RANK, SIZE_OUT)
  left /= np.linalg.norm(left, axis=1, keepdims=True) / 2
  right /= np.linalg.norm(right, axis=0, keepdims=True) / 3
  variances = np.outer(
      _random(SIZE_IN) ** 2, _random(SIZE_OUT, seed=1) ** 2)
  # The variance of a sum of independent entries, entry by entry.
  seen_in = np.array([[sum(variances[i, j] * right[k, j] ** 2
                           for j in range(SIZE_OUT))
                       for k in range(RANK)] for i in range(SIZE_IN)])
  seen_out = np.array([[sum(variances[i, j] * left[i, k] ** 2
                            for i in range(SIZE_IN))
                        for j in range(SIZE_OUT)] for k in range(RANK)])
  found = factors.multiply_out_second_moment(
      {IN: seen_in, OUT: seen_out}, {IN: left, OUT: right})[WHOLE]
  np.testing.assert_allclose(found, variances, rtol=1e-12)


@pytest.mark.parametrize('family', ['bert', 'gpt'])
def test_moments_of_a_real_gradient_agree_with_both_factors(family):
  source = rule_properties.SMALL[family].replace(num_layers=1, ffn_rank=2)
  target = source.replace(ffn_rank=None)
  weights, inputs = rule_properties.make(source)
  before = rule_properties.gradients(weights, source, inputs)
  squares = {name: g * g for name, g in before.items()}
  first, second = growth.grow_moments(
      before, squares, source, target, weights=weights)
  for part in ('inner', 'output'):
    name = f'layer_0/ffn/{part}/kernel'
    left, right = weights[f'{name}_in'], weights[f'{name}_out']
    np.testing.assert_allclose(
        first[name] @ right.T, before[f'{name}_in'], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        left.T @ first[name], before[f'{name}_out'], rtol=0, atol=1e-12)
    assert np.isfinite(second[name]).all() and (second[name] >= 0).all()
  np.testing.assert_array_equal(
      second['layer_0/ffn/inner/bias'], squares['layer_0/ffn/inner/bias'])


def test_moments_that_are_zero_stay_zero():
  zeros = {IN: np.zeros((2, 1)), OUT: np.zeros((1, 3))}
  for weights in (zeros, {IN: np.ones((2, 1)), OUT: np.ones((1, 3))}):
    for estimate in (factors.multiply_out_first_moment,
                     factors.multiply_out_second_moment):
      np.testing.assert_array_equal(
          estimate(zeros, weights)[WHOLE], np.zeros((2, 3)))


def test_moments_of_factors_need_the_weights():
  source = rule_properties.SMALL['bert'].replace(ffn_rank=2)
  weights, _ = rule_properties.make(source)
  target = source.replace(ffn_rank=None)
  with pytest.raises(growth.GrowthError, match='weights is None, but moments'):
    growth.grow_moments(weights, weights, source, target)
  stray = {**weights, 'stray': np.zeros(1)}
  with pytest.raises(growth.GrowthError, match='weight names .* unknown stray'):
    growth.grow_moments(weights, weights, source, target, weights=stray)
  first, _ = growth.grow_moments(
      weights, weights, source, source.replace(num_layers=4))
  np.testing.assert_array_equal(
      first['layer_3/ffn/inner/kernel_in'], weights['layer_0/ffn/inner/kernel_in'])
