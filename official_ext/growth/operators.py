"""Growth operators: each goes one part of the way from source to target.

An operator says how far it goes (an architecture between source and target) and
which maps lead there. `chain` composes; every method is a chain.
"""

from collections.abc import Callable
import dataclasses

from official_ext.growth.architecture import Architecture
from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.layer_maps import layer_map
from official_ext.growth.unit_maps import UnitMap


@dataclasses.dataclass(frozen=True)
class Operator:
  """One way of growing.

  Attributes:
    name: what it grows.
    reach: (source, target) -> the architecture that this operator ends at.
    maps: (source, reached) -> the maps that lead there.
  """

  name: str
  reach: Callable[[Architecture, Architecture], Architecture]
  maps: Callable[[Architecture, Architecture], GrowthMaps]


def deepen(depth: str = 'append') -> Operator:
  """Copies whole layers; `depth` names a rule of `layer_maps.DEPTH_RULES`."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    layers = layer_map(depth, source.num_layers, reached.num_layers)
    return dataclasses.replace(GrowthMaps.identity(reached), layers=layers)

  return Operator(
      f'depth ({depth})',
      lambda source, target: source.replace(num_layers=target.num_layers),
      maps)


def widen_inner() -> Operator:
  """Tiles the feed-forward units: removes sharing, or adds units, or both."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    inner = UnitMap.wrap(source.stored_inner_size, reached.stored_inner_size)
    return dataclasses.replace(
        GrowthMaps.identity(source), inner=(inner,) * source.num_layers)

  return Operator(
      'inner',
      lambda source, target: source.replace(
          inner_size=target.inner_size, ffn_sharing=target.ffn_sharing),
      maps)


def widen_heads() -> Operator:
  """Copies whole attention heads of an unchanged head size."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    heads = UnitMap.wrap(source.num_heads, reached.num_heads)
    return dataclasses.replace(
        GrowthMaps.identity(source), heads=(heads,) * source.num_layers)

  return Operator(
      'heads',
      lambda source, target: source.replace(
          num_heads=target.num_heads, head_size=source.head_size),
      maps)


def widen_residual() -> Operator:
  """Tiles the residual stream."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    return dataclasses.replace(
        GrowthMaps.identity(source),
        residual=UnitMap.wrap(source.hidden_size, reached.hidden_size))

  return Operator(
      'hidden',
      lambda source, target: source.replace(
          hidden_size=target.hidden_size, head_size=source.head_size),
      maps)


def lengthen() -> Operator:
  """Removes query pooling and truncation, neither of which has any weights."""
  return Operator(
      'length',
      lambda source, target: source.replace(
          query_pool_size=target.query_pool_size,
          sequence_length=target.sequence_length),
      lambda source, reached: GrowthMaps.identity(source))


def chain(*operators: Operator) -> Operator:
  """One operator that does the given ones in order."""

  def reach(source: Architecture, target: Architecture) -> Architecture:
    for operator in operators:
      source = operator.reach(source, target)
    return source

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    result = GrowthMaps.identity(source)
    for operator in operators:
      middle = operator.reach(source, reached)
      result = result.then(operator.maps(source, middle))
      source = middle
    return result

  return Operator(
      ' + '.join(operator.name for operator in operators), reach, maps)


def compound(depth: str = 'append') -> Operator:
  """Every operator of this file: the width first, then depth and length."""
  return chain(
      widen_residual(), widen_heads(), widen_inner(), deepen(depth), lengthen())
