"""Grows named weights and optimizer moments from one architecture to another."""

from collections.abc import Mapping
import numbers

import numpy as np

from official_ext.growth.architecture import Architecture
from official_ext.growth.errors import GrowthError
from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.named_weights import weight_specs
from official_ext.growth.named_weights import WeightSpec
from official_ext.growth.operators import compound
from official_ext.growth.refusals import growth_mistakes
from official_ext.growth.refusals import weights_mistakes
from official_ext.growth.transfer import grow_gradients
from official_ext.growth.transfer import grow_weights

_NEXT_SENTENCE = 'next_sentence/'


def maps_between(
    source: Architecture, target: Architecture, *, depth: str = 'append'
) -> GrowthMaps:
  """The maps of everything that differs between two architectures.

  Args:
    source: what there is.
    target: what there shall be.
    depth: rule for new layers, 'append' or 'top' (see `layer_maps`).

  Raises:
    GrowthError: listing everything that keeps source from growing into target.
  """
  mistakes = growth_mistakes(source, target, depth)
  if mistakes:
    raise GrowthError.of(mistakes)
  return compound(depth).maps(source, target)


def grow(
    weights: Mapping[str, np.ndarray],
    source: Architecture,
    target: Architecture,
    *,
    depth: str = 'append',
    noise_scale: float = 0.1,
    seed: int = 0,
) -> dict[str, np.ndarray]:
  """Grows a BERT pre-trainer's weights: width, depth and length, in any mixture.

  Widening (feed-forward units, heads, residual stream) preserves the function
  exactly; stacking layers and removing query pooling do not. See
  `preserves_function`.

  Args:
    weights: name -> floating array, exactly the names and shapes of
      `weight_specs(source)`; the next-sentence head is optional as a whole.
    source: architecture of `weights`.
    target: architecture to grow into.
    depth: rule for new layers, 'append' or 'top'.
    noise_scale: standard deviation of the zero-sum noise that lets copies
      separate, relative to the spread of each grown weight; 0 means none, and
      then feed-forward copies never separate.
    seed: seed of the noise; noise depends on the seed and the weight's name.

  Returns:
    name -> array in the order of `weight_specs(target)`, of the source's types,
    sharing no memory with `weights`.

  Raises:
    GrowthError: listing every mistake at once.
  """
  mistakes = []
  if not (isinstance(noise_scale, numbers.Real) and 0 <= noise_scale < np.inf):
    mistakes.append(
        f'noise_scale is {noise_scale!r}; give a number of at least 0')
  mistakes += growth_mistakes(source, target, depth)
  mistakes += _array_mistakes({'weight': weights}, source)
  if mistakes:
    raise GrowthError.of(mistakes)
  target_specs = _specs_like(weights, target)
  grown = grow_weights(
      weights, target_specs, compound(depth).maps(source, target),
      noise_scale=noise_scale, seed=seed)
  _check_coverage(grown, target_specs)
  return grown


def grow_moments(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    source: Architecture,
    target: Architecture,
    *,
    depth: str = 'append',
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Grows Adam's or LAMB's moments; the optimizer's step is to be kept.

  Gradients of a widened weight are the old ones divided by the copies of its
  out-units, so the first moment is divided by that and the second by its
  square. The masked-LM head's LayerNorm and the vocabulary bias are unchanged.

  Args:
    first: name -> running mean of the gradients, as `weight_specs(source)`.
    second: name -> running mean of their squares.
    source: architecture of the moments.
    target: architecture to grow into.
    depth: rule for new layers, 'append' or 'top'.

  Returns:
    (first, second) of the target.

  Raises:
    GrowthError: listing every mistake at once.
  """
  mistakes = growth_mistakes(source, target, depth)
  mistakes += _array_mistakes(
      {'first moment': first, 'second moment': second}, source)
  if mistakes:
    raise GrowthError.of(mistakes)
  maps = compound(depth).maps(source, target)
  grown = []
  for moments, power in ((first, 1), (second, 2)):
    specs = _specs_like(moments, target)
    grown.append(grow_gradients(moments, specs, maps, power=power))
    _check_coverage(grown[-1], specs)
  return grown[0], grown[1]


def _specs_like(
    arrays: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, WeightSpec]:
  """The architecture's specs, with a next-sentence head if the arrays have one."""
  return weight_specs(
      architecture,
      has_next_sentence=any(n.startswith(_NEXT_SENTENCE) for n in arrays))


def _array_mistakes(
    sides: Mapping[str, Mapping[str, np.ndarray]], architecture: Architecture
) -> list[str]:
  if architecture.ffn_rank is not None:
    return []  # Refused already, and without names.
  mistakes = []
  for side, arrays in sides.items():
    mistakes += weights_mistakes(arrays, _specs_like(arrays, architecture), side)
  return mistakes


def _check_coverage(
    grown: Mapping[str, np.ndarray], specs: Mapping[str, WeightSpec]):
  mistakes = weights_mistakes(grown, specs, 'grown')
  if mistakes:
    raise GrowthError.of(mistakes)
