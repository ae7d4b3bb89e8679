"""Applies growth maps to weights, to optimizer moments and to learning rates.

With `g` the unit map along an axis and `s` its shares, one over the number of
copies unless stated otherwise:

    weights         W' = (s_in * W[g_in, :])[:, g_out]
    gradients       G' = (s_out * G[:, g_out])[g_in, :]
    learning rate   multiplied by s_in

A weight without an in-axis has no `s_in`, a weight without an out-axis no
`s_out`; axes with role 'copy' never take part.
"""

from collections.abc import Mapping

import numpy as np

from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.named_weights import layer_of
from official_ext.growth.named_weights import WeightSpec
from official_ext.growth.named_weights import with_layer
from official_ext.growth.noise import add_zero_sum_noise
from official_ext.growth.noise import named_generator
from official_ext.growth.unit_maps import UnitMap


def _source_name(name: str, maps: GrowthMaps) -> str:
  layer = layer_of(name)
  return name if layer is None else with_layer(name, maps.layers[layer])


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


def _indexed(
    arrays: Mapping[str, np.ndarray], name: str, spec: WeightSpec,
    maps: GrowthMaps) -> np.ndarray:
  array = np.array(arrays[_source_name(name, maps)])  # Never an alias.
  for position, unit_map in _mapped_axes(name, spec, maps):
    array = np.take(array, unit_map.sources, axis=position)
  return array


def _scaled(
    array: np.ndarray, shares: list[tuple[int, UnitMap]], power: int = 1
) -> np.ndarray:
  if not shares:
    return array
  scaled = array.astype(np.float64)
  for position, unit_map in shares:
    scaled *= _along(unit_map.shares, position, array.ndim) ** power
  return scaled.astype(array.dtype)


def grow_weights(
    weights: Mapping[str, np.ndarray],
    target_specs: Mapping[str, WeightSpec],
    maps: GrowthMaps,
    *,
    noise_scale: float = 0.0,
    seed: int = 0,
) -> dict[str, np.ndarray]:
  """Target weights by the unit-map rule; types are kept, nothing is aliased.

  Args:
    weights: source name -> array.
    target_specs: target name -> WeightSpec; each is written exactly once.
    maps: where each target unit comes from.
    noise_scale: standard deviation of the zero-sum noise on copied in-units,
      relative to the grown weight's own; 0 means none.
    seed: seed of the noise.
  """
  grown = {}
  for name, spec in target_specs.items():
    array = _indexed(weights, name, spec, maps)
    shared = _mapped_axes(name, spec, maps, role='in')
    array = _scaled(array, shared)
    if noise_scale:
      generator = named_generator(seed, name)
      for position, unit_map in shared:
        array = add_zero_sum_noise(
            array, position, unit_map, noise_scale, generator)
    grown[name] = array
  return grown


def grow_gradients(
    gradients: Mapping[str, np.ndarray],
    target_specs: Mapping[str, WeightSpec],
    maps: GrowthMaps,
    *,
    power: int = 1,
) -> dict[str, np.ndarray]:
  """What becomes of gradients, or of a running mean of their `power`-th power.

  Exact for function-preserving growths without noise: a produced unit's
  gradient is divided among its copies, whatever happens on the in-side.
  """
  return {
      name: _scaled(
          _indexed(gradients, name, spec, maps),
          _mapped_axes(name, spec, maps, role='out'), power)
      for name, spec in target_specs.items()}


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
