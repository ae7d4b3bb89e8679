"""Factorised feed-forward kernels, multiplied out; their moments, estimated."""

from collections.abc import Mapping

import numpy as np

_IN = '/kernel_in'
_OUT = '/kernel_out'


def multiply_out(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Weights with every pair of factors replaced by its product.

  kernel [in, out] = kernel_in [in, rank] @ kernel_out [rank, out], computed in
  float64. Other weights are handed on as they are.
  """
  whole = {}
  for name, weight in weights.items():
    if name.endswith(_IN):
      product = np.matmul(
          weight, weights[_partner(name)], dtype=np.float64)
      whole[_whole(name)] = product.astype(weight.dtype)
    elif not name.endswith(_OUT):
      whole[name] = weight
  return whole


def multiply_out_first_moment(
    first: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """First moments of the products; an estimate.

  With K = A B, gradients obey dA = dK B^T and dB = A^T dK, and so do their
  running means as long as A and B move little. Given those, a and b, the mean M
  of dK is taken to be the smallest matrix (in the Frobenius norm) with

    M B^T = a,  A^T M = b:   M = a B^+^T + A^+^T b - P,

  where P is what both have in common, (A A^+) M (B^+ B): the mean of both sides'
  account of it, which differ if A and B did move. What neither side can see,
  outside A's columns and B's rows, counts as zero.

  Args:
    first: name -> first moment.
    weights: name -> weight, at least the factors.
  """
  whole = {}
  for name, moment in first.items():
    if name.endswith(_IN):
      a, b, left, right = _factors(name, first, weights)
      left_inverse, right_inverse = _inverse(left), _inverse(right.T).T
      # Half of what is common is taken off on either side.
      a = a - 0.5 * left @ (left_inverse @ a)
      b = b - 0.5 * (b @ right_inverse) @ right
      product = a @ right_inverse.T + left_inverse.T @ b
      whole[_whole(name)] = product.astype(moment.dtype)
    elif not name.endswith(_OUT):
      whole[name] = moment
  return whole


def multiply_out_second_moment(
    second: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Second moments of the products; a rank-one estimate.

  If the entries of dK are independent with variances V, then dA = dK B^T has
  row sums of variances sum_j V_ij |B_j|^2, with B_j the columns of B. With all
  columns of B, and all rows of A, about as long, the row means of V are the row
  sums of A's second moment over |B|^2, its column means the column sums of B's
  over |A|^2, and

    V_ij = row_mean_i * column_mean_j / mean.

  Exact for independent entries, columns and rows of equal lengths, and V of
  rank one.

  Args:
    second: name -> second moment.
    weights: name -> weight, at least the factors.
  """
  whole = {}
  for name, moment in second.items():
    if name.endswith(_IN):
      a, b, left, right = _factors(name, second, weights)
      rows = a.sum(axis=1) / _positive(np.sum(right ** 2))
      columns = b.sum(axis=0) / _positive(np.sum(left ** 2))
      mean = _positive(np.sqrt(rows.mean()) * np.sqrt(columns.mean()))
      whole[_whole(name)] = np.outer(rows, columns / mean).astype(moment.dtype)
    elif not name.endswith(_OUT):
      whole[name] = moment
  return whole


def _partner(name: str) -> str:
  return name.removesuffix(_IN) + _OUT


def _whole(name: str) -> str:
  return name.removesuffix(_IN) + '/kernel'


def _factors(name: str, moments, weights) -> list[np.ndarray]:
  """Moments, then weights, of both factors in float64."""
  return [np.asarray(arrays[factor], np.float64)
          for arrays in (moments, weights)
          for factor in (name, _partner(name))]


def _inverse(factor: np.ndarray) -> np.ndarray:
  """The pseudo-inverse of a matrix with few columns, [rank, size]."""
  return np.linalg.pinv(factor.T @ factor, hermitian=True) @ factor.T


def _positive(number: float) -> float:
  """Numerators are zero, too, wherever this is."""
  return number if number > 0 else 1.0
