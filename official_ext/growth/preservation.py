"""Whether a growth preserves the function, worked out from its maps."""

import numpy as np

from official_ext.growth.architecture import Architecture
from official_ext.growth.depths import DEPTH_RULES
from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.norm_weights import architecture_norm_weights
from official_ext.growth.operators import maps_between

_TOLERANCE = 1e-12


def widening_preserves(
    source: Architecture, target: Architecture, maps: GrowthMaps) -> bool:
  """Whether copies sum to what they copy, in every layer and LayerNorm.

  Fresh units and units of other layers add something else. A LayerNorm's mean
  and variance stay if the weights of the copies of each unit add up to the
  weight that it had.
  """
  unit_maps = {maps.residual, *maps.heads, *maps.inner}
  if any(unit_map.num_fresh or unit_map.layers is not None
         for unit_map in unit_maps):
    return False
  totals = np.bincount(
      maps.residual.sources, weights=architecture_norm_weights(target))
  return np.allclose(
      totals, architecture_norm_weights(source), rtol=_TOLERANCE, atol=0)


def weight_growth_preserves(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append') -> bool:
  """Whether the weights alone, all else equal, compute the same function.

  Query pooling has no weights: compare both models with the same pooling.

  Args:
    source: what there is.
    target: what there shall be.
    width: rule for new units, a name in `WIDTH_RULES`.
    depth: rule for new layers, a name in `DEPTH_RULES`.

  Raises:
    GrowthError: if source cannot grow into target.
  """
  maps = maps_between(source, target, width=width, depth=depth)
  if (target.num_layers != source.num_layers
      and source.family not in DEPTH_RULES[depth].preserving_families):
    return False
  return widening_preserves(source, target, maps)


def preserves_function(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append') -> bool:
  """Whether the grown model computes what the source did, dropout off."""
  return (source.query_pool_size == target.query_pool_size
          and weight_growth_preserves(
              source, target, width=width, depth=depth))
