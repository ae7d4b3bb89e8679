"""Applies growth maps to weights, to optimizer moments and to learning rates.

With `g` the unit map along an axis and `s` its shares, one over the number of
copies unless stated otherwise:

    weights         W' = (s_in * W[g_in, :])[:, g_out]
    gradients       G' = (s_out * G[:, g_out])[g_in, :]
    learning rate   multiplied by s_in

A weight without an in-axis has no `s_in`, a weight without an out-axis no
`s_out`; axes with role 'copy' never take part.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses

import numpy as np

from official_ext.growth.fresh_weights import fresh_block
from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.named_generator import named_generator
from official_ext.growth.named_weights import WeightSpec
from official_ext.growth.named_weights import with_layer
from official_ext.growth.noise import add_zero_sum_noise
from official_ext.growth.unit_maps import UnitMap

# (source name, its array, axis, number of fresh units) -> their entries.
_Fresh = Callable[[str, np.ndarray, int, int], np.ndarray]
_FEW_SLICES = 16


def _mapped_axes(
    name: str, spec: WeightSpec, maps: GrowthMaps, role: str | None = None
) -> list[tuple[int, UnitMap]]:
  """(position, map) of each axis that really widens."""
  found = []
  for position, axis in enumerate(spec.axes):
    unit_map = maps.unit_map(name, axis)
    if (unit_map is not None and not unit_map.is_identity
        and role in (None, axis.role)):
      found.append((position, unit_map))
  return found


def _along(vector, position: int, rank: int) -> np.ndarray:
  shape = [1] * rank
  shape[position] = -1
  return np.asarray(vector, np.float64).reshape(shape)


def take(array: np.ndarray, sources: np.ndarray, axis: int) -> np.ndarray:
  """`np.take`, by slices where there are few: several times as quick."""
  breaks = np.flatnonzero(sources[1:] - sources[:-1] != 1) + 1
  if len(breaks) >= _FEW_SLICES:
    return np.take(array, sources, axis=axis)
  at = [slice(None)] * array.ndim
  parts = []
  for start, end in zip([0, *breaks], [*breaks, len(sources)]):
    at[axis] = slice(sources[start], sources[end - 1] + 1)
    parts.append(array[tuple(at)])
  return np.concatenate(parts, axis=axis)


def _gather(
    arrays: Mapping[str, np.ndarray], name: str, source_name: str,
    spec: WeightSpec, maps: GrowthMaps, fresh: _Fresh) -> np.ndarray:
  """The entries that a target weight is made of; never an alias."""
  axes = _mapped_axes(name, spec, maps)

  def read(source: str) -> np.ndarray:
    array = arrays[source]
    for position, unit_map in axes:
      if unit_map.num_fresh:
        added = fresh(source, array, position, unit_map.num_fresh)
        array = np.concatenate(
            [array, added.astype(array.dtype)], axis=position)
    return array

  array = read(source_name)
  if not axes:
    return np.array(array)
  # The axis whose units come from several layers goes first; no weight has two.
  axes.sort(key=lambda axis: axis[1].layers is None)
  for position, unit_map in axes:
    sources = np.asarray(unit_map.sources)
    if unit_map.layers is None:
      array = take(array, sources, position)
      continue
    layers = np.asarray(unit_map.layers)
    shape = list(array.shape)
    shape[position] = len(sources)
    mixed = np.empty(shape, array.dtype)
    at = [slice(None)] * mixed.ndim
    for layer in np.unique(layers):
      at[position] = np.flatnonzero(layers == layer)
      mixed[tuple(at)] = take(
          read(with_layer(source_name, layer)), sources[at[position]], position)
    array = mixed
  return array


def _share_out(
    array: np.ndarray, shares: list[tuple[int, UnitMap]], power: int = 1
) -> np.ndarray:
  """Multiplies by shares, in place and as if in float64."""
  for position, unit_map in shares:
    factors = _along(unit_map.shares, position, array.ndim) ** power
    if (factors == 1).all():
      continue
    # Halves and quarters are exact in any type, and quicker in the array's own.
    if (factors.astype(array.dtype) == factors).all():
      factors = factors.astype(array.dtype)
    np.multiply(array, factors, out=array, casting='same_kind')
  return array


def grow_weights(
    weights: Mapping[str, np.ndarray],
    target_specs: Mapping[str, WeightSpec],
    maps: GrowthMaps,
    *,
    noise_scale: float = 0.0,
    seed: int = 0,
    initializer_stddev: float = 0.02,
) -> dict[str, np.ndarray]:
  """Target weights by the unit-map rule; types are kept, nothing is aliased.

  Args:
    weights: source name -> array.
    target_specs: target name -> WeightSpec; each is written exactly once.
    maps: where each target unit comes from.
    noise_scale: standard deviation of the zero-sum noise on copied in-units,
      relative to the grown weight's own; 0 means none.
    seed: seed of the noise and of fresh units.
    initializer_stddev: standard deviation of fresh kernels and embeddings.
  """

  def fresh(source, array, position, count):
    shape = list(array.shape)
    shape[position] = count
    return fresh_block(
        source, tuple(shape), initializer_stddev,
        named_generator(seed, f'fresh/{source}/{position}'))

  grown = {}
  for name, spec in target_specs.items():
    source_name = maps.source_name(name)
    if source_name is None:
      grown[name] = np.zeros(spec.shape, weights[_own_name(name, maps)].dtype)
      continue
    array = _gather(weights, name, source_name, spec, maps, fresh)
    shared = _mapped_axes(name, spec, maps, role='in')
    array = _share_out(array, shared)
    if noise_scale:
      generator = named_generator(seed, name)
      for position, unit_map in shared:
        array = add_zero_sum_noise(
            array, position, unit_map, noise_scale, generator)
    grown[name] = array
  return grown


def _own_name(name: str, maps: GrowthMaps) -> str:
  """The weight of the same name in the layer that is copied."""
  return dataclasses.replace(maps, substitutes=()).source_name(name)


def grow_gradients(
    gradients: Mapping[str, np.ndarray],
    target_specs: Mapping[str, WeightSpec],
    maps: GrowthMaps,
    *,
    power: int = 1,
) -> dict[str, np.ndarray]:
  """What becomes of gradients, or of a running mean of their `power`-th power.

  Exact for function-preserving growths without noise: a produced unit's
  gradient is divided among its copies, whatever happens on the in-side. Fresh
  units, and weights that were set to zero, have had no gradient: the first
  power is 0 there. The second is what keeps their steps from overshooting: the
  mean of the old units, or what the copied layer has.
  """

  def fresh(source, array, position, count):
    del source
    mean = array.mean(axis=position, keepdims=True, dtype=np.float64)
    return np.repeat(mean if power == 2 else 0.0 * mean, count, axis=position)

  grown = {}
  for name, spec in target_specs.items():
    source_name = maps.source_name(name)
    if source_name is None and power == 1:
      grown[name] = np.zeros(spec.shape, gradients[_own_name(name, maps)].dtype)
      continue
    array = _gather(
        gradients, name, source_name or _own_name(name, maps), spec, maps,
        fresh)
    grown[name] = _share_out(
        array, _mapped_axes(name, spec, maps, role='out'), power)
  return grown


def learning_rate_multipliers(
    target_specs: Mapping[str, WeightSpec], maps: GrowthMaps
) -> dict[str, np.ndarray]:
  """Per weight, what Adam's step has to be multiplied by to go on exactly.

  Adam's step ignores the scale of the gradient while weights with an in-axis
  were divided by the number of copies. The multiplier is for Adam's own step;
  decoupled weight decay, being proportional to the weight, takes none.

  Returns:
    name -> float64 array that broadcasts against the weight.
  """
  multipliers = {}
  for name, spec in target_specs.items():
    multiplier = np.ones([1] * len(spec.shape))
    for position, unit_map in _mapped_axes(name, spec, maps, role='in'):
      multiplier = multiplier * _along(
          unit_map.shares, position, len(spec.shape))
    multipliers[name] = multiplier
  return multipliers
