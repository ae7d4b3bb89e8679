"""Whether a growth preserves the function, worked out from its maps, and why."""

import numpy as np

from official_ext.growth.architecture import Architecture
from official_ext.growth.depths import DEPTH_RULES
from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.norm_weights import architecture_norm_weights
from official_ext.growth.operators import maps_between
from official_ext.growth.widths import WIDTH_RULES

_TOLERANCE = 1e-12


def weight_growth_changes(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append') -> list[str]:
  """Says what of the weights' growth changes the function; empty if nothing.

  Query pooling has no weights: compare both models with the same pooling.

  Args:
    source: what there is.
    target: what there shall be.
    width: rule for new units, a name in `WIDTH_RULES`.
    depth: rule for new layers, a name in `DEPTH_RULES`.

  Returns:
    one line a reason, from the rule's own row where a rule is the reason.

  Raises:
    GrowthError: if source cannot grow into target.
  """
  maps = maps_between(source, target, width=width, depth=depth)
  changes = []
  if _mixes_other_units(maps):
    rule = WIDTH_RULES[width]
    changes.append(f'width {width!r}: {rule.summary}; it {rule.preserves}')
  elif not _keeps_statistics(source, target, maps):
    changes.append(_statistics_change(source, target))
  if (target.num_layers != source.num_layers
      and source.family not in DEPTH_RULES[depth].preserving_families):
    rule = DEPTH_RULES[depth]
    changes.append(f'depth {depth!r}: {rule.summary}; it {rule.preserves}')
  return changes


def function_changes(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append') -> list[str]:
  """Says what changes the function, query pooling included; empty if nothing."""
  changes = weight_growth_changes(source, target, width=width, depth=depth)
  if source.query_pool_size != target.query_pool_size:
    changes.append(
        f'query_pool_size {source.query_pool_size} -> {target.query_pool_size}: '
        'layer 0 sees other queries')
  return changes


def weight_growth_preserves(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append') -> bool:
  """Whether the weights alone, all else equal, compute the same function.

  See `weight_growth_changes`.
  """
  return not weight_growth_changes(source, target, width=width, depth=depth)


def preserves_function(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append') -> bool:
  """Whether the grown model computes what the source did, dropout off."""
  return not function_changes(source, target, width=width, depth=depth)


def _mixes_other_units(maps: GrowthMaps) -> bool:
  """Whether sums get terms of fresh units, or of units of other layers."""
  return maps.mixes_layers or any(
      unit_map.num_fresh for unit_map in maps.unit_maps)


def _keeps_statistics(
    source: Architecture, target: Architecture, maps: GrowthMaps) -> bool:
  """Whether LayerNorms see the same mean and variance.

  They do if the weights of the copies of each unit add up to its own.
  """
  totals = np.bincount(
      maps.residual.sources, weights=architecture_norm_weights(target))
  return np.allclose(
      totals, architecture_norm_weights(source), rtol=_TOLERANCE, atol=0)


def _statistics_change(source: Architecture, target: Architecture) -> str:
  change = (f'LayerNorm statistics: hidden_size {source.hidden_size} -> '
            f'{target.hidden_size} ')
  if source.norm_source_size is not None:
    return change + (
        f'with norm_source_size {source.norm_source_size} -> '
        f'{target.norm_source_size} weighs units in another way')
  return change + (
      'copies some units more often than others; a norm_source_size of '
      f'{source.hidden_size} would make up for it where copies are taken in turn')
