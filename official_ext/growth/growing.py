"""Grows named weights and optimizer moments from one architecture to another."""

from collections.abc import Mapping
import numbers

import numpy as np

from official_ext.growth import factors
from official_ext.growth.architecture import Architecture
from official_ext.growth.errors import GrowthError
from official_ext.growth.named_weights import heads_in
from official_ext.growth.named_weights import weight_specs
from official_ext.growth.named_weights import WeightSpec
from official_ext.growth.operators import compound
from official_ext.growth.refusals import growth_mistakes
from official_ext.growth.refusals import seed_mistakes
from official_ext.growth.refusals import weights_mistakes
from official_ext.growth.transfer import grow_gradients
from official_ext.growth.transfer import grow_weights


def grow(
    weights: Mapping[str, np.ndarray],
    source: Architecture,
    target: Architecture,
    *,
    width: str = 'fpi',
    depth: str = 'append',
    noise_scale: float = 0.1,
    seed: int = 0,
    initializer_stddev: float = 0.02,
) -> dict[str, np.ndarray]:
  """Grows a model's weights: width, depth and length, in any mixture.

  Factors are multiplied out first, then units are added, then layers. Whether
  the function is preserved depends on the rules: see `preserves_function`.

  Args:
    weights: name -> floating array, exactly the names and shapes of
      `weight_specs(source)`; each of a BERT's heads is optional as a whole.
    source: architecture of `weights`.
    target: architecture to grow into.
    width: rule for new units, a name in `WIDTH_RULES`.
    depth: rule for new layers, a name in `DEPTH_RULES`.
    noise_scale: standard deviation of the zero-sum noise that lets copies
      separate, relative to the spread of each grown weight; 0 means none, and
      then feed-forward copies never separate.
    seed: seed of whatever is random: the noise, fresh units, drawn copies.
      Numbers depend on the seed and the weight's name or the group of units.
    initializer_stddev: standard deviation of fresh kernels and embeddings.

  Returns:
    name -> array in the order of `weight_specs(target)`, of the source's types,
    sharing no memory with `weights`.

  Raises:
    GrowthError: listing every mistake at once.
  """
  mistakes = [
      f'{field} is {value!r}; give a number of at least 0'
      for field, value in (
          ('noise_scale', noise_scale),
          ('initializer_stddev', initializer_stddev))
      if not (isinstance(value, numbers.Real) and 0 <= value < np.inf)]
  mistakes += seed_mistakes(seed)
  mistakes += growth_mistakes(source, target, depth, width)
  mistakes += _array_mistakes({'weight': weights}, source)
  if mistakes:
    raise GrowthError.of(mistakes)
  target_specs = _specs_like(weights, target)
  if _multiplies_out(source, target):
    weights = factors.multiply_out(weights)
  grown = grow_weights(
      weights, target_specs, compound(width, depth, seed).maps(source, target),
      noise_scale=noise_scale, seed=seed, initializer_stddev=initializer_stddev)
  _check_coverage(grown, target_specs)
  return grown


def grow_moments(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    source: Architecture,
    target: Architecture,
    *,
    width: str = 'fpi',
    depth: str = 'append',
    seed: int = 0,
    weights: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Grows Adam's or LAMB's moments; the optimizer's step is to be kept.

  Gradients of a widened weight are the old ones divided by the copies of its
  out-units, so the first moment is divided by that and the second by its
  square. The LayerNorm before the decoder and the vocabulary bias are
  unchanged. Moments of fresh units and of multiplied factors are estimates: see
  `transfer.grow_gradients` and `factors`.

  Args:
    first: name -> running mean of the gradients, as `weight_specs(source)`.
    second: name -> running mean of their squares.
    source: architecture of the moments.
    target: architecture to grow into.
    width: rule for new units, a name in `WIDTH_RULES`.
    depth: rule for new layers, a name in `DEPTH_RULES`.
    seed: the seed that the weights grow with.
    weights: the weights before growth; needed where factors are multiplied.

  Returns:
    (first, second) of the target.

  Raises:
    GrowthError: listing every mistake at once.
  """
  sides = {'first moment': first, 'second moment': second}
  mistakes = seed_mistakes(seed)
  mistakes += growth_mistakes(source, target, depth, width)
  if _multiplies_out(source, target):
    if weights is None:
      mistakes.append(
          'weights is None, but moments of factors are multiplied out with '
          'them; give the weights before growth')
    else:
      sides['weight'] = weights
  mistakes += _array_mistakes(sides, source)
  if mistakes:
    raise GrowthError.of(mistakes)
  if _multiplies_out(source, target):
    first = factors.multiply_out_first_moment(first, weights)
    second = factors.multiply_out_second_moment(second, weights)
  maps = compound(width, depth, seed).maps(source, target)
  grown = []
  for moments, power in ((first, 1), (second, 2)):
    specs = _specs_like(moments, target)
    grown.append(grow_gradients(moments, specs, maps, power=power))
    _check_coverage(grown[-1], specs)
  return grown[0], grown[1]


def _multiplies_out(source: Architecture, target: Architecture) -> bool:
  return source.ffn_rank is not None and target.ffn_rank is None


def _specs_like(
    arrays: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, WeightSpec]:
  """The architecture's specs, with the heads that the arrays have."""
  return weight_specs(architecture, **heads_in(arrays))


def _array_mistakes(
    sides: Mapping[str, Mapping[str, np.ndarray]], architecture: Architecture
) -> list[str]:
  mistakes = []
  for side, arrays in sides.items():
    mistakes += weights_mistakes(arrays, _specs_like(arrays, architecture), side)
  return mistakes


def _check_coverage(
    grown: Mapping[str, np.ndarray], specs: Mapping[str, WeightSpec]):
  mistakes = weights_mistakes(grown, specs, 'grown')
  if mistakes:
    raise GrowthError.of(mistakes)
