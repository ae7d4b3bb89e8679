"""Growth operators: each goes one part of the way from source to target.

An operator says how far it goes (an architecture between source and target) and
which maps lead there. `chain` composes; every method is a chain.
"""

from collections.abc import Callable
import dataclasses

from official_ext.growth.architecture import Architecture
from official_ext.growth.depths import DEPTH_RULES
from official_ext.growth.errors import GrowthError
from official_ext.growth.growth_maps import GrowthMaps
from official_ext.growth.refusals import growth_mistakes
from official_ext.growth.refusals import seed_mistakes
from official_ext.growth.unit_maps import UnitMap
from official_ext.growth.widths import Widening
from official_ext.growth.widths import WIDTH_RULES
from official_ext.growth.widths import WidthRule


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


def multiply_factors() -> Operator:
  """Makes factorised feed-forward kernels whole; no unit changes."""
  return Operator(
      'ffn_rank',
      lambda source, target: source.replace(ffn_rank=target.ffn_rank),
      lambda source, reached: GrowthMaps.identity(source))


def widen_residual(width: str = 'fpi', seed: int = 0) -> Operator:
  """Adds units to the residual stream; says how LayerNorms weigh them."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    rule = WIDTH_RULES[width]
    widenings = _widenings(
        seed, 'residual', source, source.hidden_size, reached.hidden_size)
    return dataclasses.replace(
        GrowthMaps.identity(source), residual=rule.unit_map(widenings[0]),
        produced=_produced_maps(rule, widenings))

  return Operator(
      'hidden',
      lambda source, target: source.replace(
          hidden_size=target.hidden_size, head_size=source.head_size,
          norm_source_size=target.norm_source_size),
      maps)


def widen_heads(width: str = 'fpi', seed: int = 0) -> Operator:
  """Adds whole attention heads of an unchanged head size."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    rule = WIDTH_RULES[width]
    widenings = _widenings(
        seed, 'head', source, source.num_heads, reached.num_heads)
    return dataclasses.replace(
        GrowthMaps.identity(source), heads=tuple(map(rule.unit_map, widenings)),
        produced=_produced_maps(rule, widenings))

  return Operator(
      'heads',
      lambda source, target: source.replace(
          num_heads=target.num_heads, head_size=source.head_size),
      maps)


def widen_inner(width: str = 'fpi', seed: int = 0) -> Operator:
  """Adds feed-forward units: removes sharing, or goes beyond, or both."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    rule = WIDTH_RULES[width]
    widenings = _widenings(
        seed, 'inner', source, source.stored_inner_size,
        reached.stored_inner_size)
    return dataclasses.replace(
        GrowthMaps.identity(source), inner=tuple(map(rule.unit_map, widenings)),
        produced=_produced_maps(rule, widenings))

  return Operator(
      'inner',
      lambda source, target: source.replace(
          inner_size=target.inner_size, ffn_sharing=target.ffn_sharing),
      maps)


def deepen(depth: str = 'append') -> Operator:
  """Adds layers; `depth` names a rule of `DEPTH_RULES`."""

  def maps(source: Architecture, reached: Architecture) -> GrowthMaps:
    layers = layer_map(depth, source.num_layers, reached.num_layers)
    substitutes = DEPTH_RULES[depth].substitutes
    return dataclasses.replace(
        GrowthMaps.identity(reached), layers=layers,
        substitutes=tuple(
            substitutes if index and layer == layers[index - 1] else {}
            for index, layer in enumerate(layers)))

  return Operator(
      f'depth ({depth})',
      lambda source, target: source.replace(num_layers=target.num_layers),
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


def compound(
    width: str = 'fpi', depth: str = 'append', seed: int = 0) -> Operator:
  """Every operator of this file: width before depth, as bert2BERT does."""
  return chain(
      multiply_factors(), widen_residual(width, seed), widen_heads(width, seed),
      widen_inner(width, seed), deepen(depth), lengthen())


def maps_between(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append', seed: int = 0) -> GrowthMaps:
  """The maps of everything that differs between two architectures.

  Args:
    source: what there is.
    target: what there shall be.
    width: rule for new units, a name in `WIDTH_RULES`.
    depth: rule for new layers, a name in `DEPTH_RULES`.
    seed: seed of rules that draw at random.

  Raises:
    GrowthError: listing everything that keeps source from growing into target.
  """
  mistakes = growth_mistakes(source, target, depth, width)
  mistakes += seed_mistakes(seed)
  if mistakes:
    raise GrowthError.of(mistakes)
  return compound(width, depth, seed).maps(source, target)


def layer_map(
    depth: str, num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """Source layer of each target layer.

  Raises:
    GrowthError: if the rule is unknown or the number of layers shrinks.
  """
  mistakes = []
  if depth not in DEPTH_RULES:
    mistakes.append(
        f'depth {depth!r} is unknown; choose one of {sorted(DEPTH_RULES)}')
  if new_num_layers < num_layers:
    mistakes.append(
        f'num_layers shrinks from {num_layers} to {new_num_layers}; give at '
        f'least {num_layers}')
  if mistakes:
    raise GrowthError.of(mistakes)
  if new_num_layers == num_layers:
    return tuple(range(num_layers))
  return DEPTH_RULES[depth].layers(num_layers, new_num_layers)


def _widenings(
    seed: int, group: str, source: Architecture, size: int, new_size: int
) -> list[Widening]:
  """The widening of one group of units, for each layer."""
  return [Widening(group, size, new_size, layer, source.num_layers, seed)
          for layer in range(source.num_layers)]


def _produced_maps(
    rule: WidthRule, widenings: list[Widening]
) -> tuple[dict[str, UnitMap], ...]:
  """`GrowthMaps.produced` of one group of units."""
  if rule.produced_map is None:
    return ()
  return tuple({widening.group: rule.produced_map(widening)}
               for widening in widenings)
