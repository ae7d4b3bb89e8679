"""Every reason why one architecture cannot grow into another, found at once."""

from collections.abc import Mapping
from collections.abc import Sequence
import numbers

from official_ext.growth.architecture import Architecture
from official_ext.growth.depths import DEPTH_RULES
from official_ext.growth.named_weights import WeightSpec
from official_ext.growth.unit_maps import UnitMap
from official_ext.growth.widths import Widening
from official_ext.growth.widths import WIDTH_RULES

_NEVER_SHRINKING = (
    'num_layers', 'hidden_size', 'num_heads', 'stored_inner_size',
    'sequence_length')
_UNCHANGED = (
    'vocab_size', 'max_positions', 'type_vocab_size', 'head_size',
    'activation', 'norm_epsilon')
_LISTED_NAMES = 8


def growth_mistakes(
    source: Architecture, target: Architecture, depth: str = 'append',
    width: str = 'fpi') -> list[str]:
  """Lists what keeps `source` from growing into `target`; empty if nothing."""
  mistakes = [
      f'{kind} {name!r} is unknown; choose one of {sorted(rules)}'
      for kind, name, rules in (
          ('width', width, WIDTH_RULES), ('depth', depth, DEPTH_RULES))
      if name not in rules]
  if source.family != target.family:
    # What else differs follows from this, or does not matter.
    return mistakes + [f'family changes from {source.family} to '
                       f'{target.family}; keep {source.family}']
  for field in _NEVER_SHRINKING:
    old, new = getattr(source, field), getattr(target, field)
    if new < old:
      mistakes.append(
          f'{field} shrinks from {old} to {new}; give at least {old}')
  for field in _UNCHANGED:
    old, new = getattr(source, field), getattr(target, field)
    if new != old:
      mistakes.append(f'{field} changes from {old} to {new}; keep {old}')
  if target.query_pool_size > source.query_pool_size:
    mistakes.append(
        f'query_pool_size rises from {source.query_pool_size} to '
        f'{target.query_pool_size}, which is a smaller model; give at most '
        f'{source.query_pool_size}')
  mistakes += _rank_mistakes(source, target, width)
  mistakes += _norm_mistakes(source, target, width)
  return mistakes


def _rank_mistakes(
    source: Architecture, target: Architecture, width: str) -> list[str]:
  if target.ffn_rank is None:
    return []
  if source.ffn_rank is None:
    return [f'ffn_rank goes from None to {target.ffn_rank}, which is a smaller '
            'model; give None']
  if source.ffn_rank != target.ffn_rank:
    return [f'ffn_rank changes from {source.ffn_rank} to {target.ffn_rank}; '
            f'keep {source.ffn_rank}, or give None to multiply out']
  if width in WIDTH_RULES and _mixes_factors(source, target, width):
    return [f'width {width!r} takes feed-forward units of other layers, whose '
            f'factors of ffn_rank {source.ffn_rank} do not fit; give ffn_rank '
            'None to multiply out']
  return []


def _mixes_factors(
    source: Architecture, target: Architecture, width: str) -> bool:
  """Whether units of factorised kernels come from several layers."""
  rule = WIDTH_RULES[width]
  groups = [('inner', 'stored_inner_size', rule.unit_map)]
  if rule.produced_map is not None:
    groups += [('inner', 'stored_inner_size', rule.produced_map),
               ('residual', 'hidden_size', rule.produced_map)]
  return any(
      unit_map(Widening(
          group, getattr(source, size), getattr(target, size), layer,
          source.num_layers, 0)).layers is not None
      for group, size, unit_map in groups
      if getattr(target, size) > getattr(source, size)
      for layer in range(source.num_layers))


def _norm_mistakes(
    source: Architecture, target: Architecture, width: str) -> list[str]:
  old, new = source.norm_source_size, target.norm_source_size
  if new is None or target.hidden_size < source.hidden_size:
    return []
  if target.hidden_size == source.hidden_size:
    if new == old:
      return []
    return [f'norm_source_size changes from {old} to {new} while hidden_size '
            f'stays {source.hidden_size}; give '
            + (f'{old} or None' if old else 'None')]
  if new != source.hidden_size:
    return [f'norm_source_size is {new}, but the model grows from hidden_size '
            f'{source.hidden_size}; give {source.hidden_size}']
  if width in WIDTH_RULES:
    unit_map = WIDTH_RULES[width].unit_map(Widening(
        'residual', source.hidden_size, target.hidden_size, 0,
        source.num_layers, 0))
    if unit_map != UnitMap.wrap(source.hidden_size, target.hidden_size):
      return [f'norm_source_size {new} counts copies taken in turn, but width '
              f"{width!r} takes others; use 'fpi' or give None"]
  return []


def seed_mistakes(seed: int) -> list[str]:
  """Says so if no random numbers can be drawn with a seed."""
  if isinstance(seed, numbers.Integral) and seed >= 0:
    return []
  return [f'seed is {seed!r}; give a whole number of at least 0']


def weights_mistakes(
    weights: Mapping[str, object], specs: Mapping[str, WeightSpec], side: str
) -> list[str]:
  """Lists names and shapes in which weights and specs disagree.

  Args:
    weights: name -> array.
    specs: name -> WeightSpec.
    side: what the weights are called in the messages.
  """
  mistakes = []
  missing = [name for name in specs if name not in weights]
  unknown = [name for name in weights if name not in specs]
  if missing or unknown:
    mistakes.append(
        f'{side} names do not match the architecture: missing '
        f'{listed(missing)}, unknown {listed(unknown)}; give exactly the names '
        'of weight_specs')
  wrong = [
      f'{name} {tuple(weights[name].shape)} (expected {spec.shape})'
      for name, spec in specs.items()
      if name in weights and tuple(weights[name].shape) != spec.shape]
  if wrong:
    mistakes.append(
        f'{side} shapes do not match the architecture: {listed(wrong)}; give '
        'the architecture that the weights were made for')
  return mistakes


def listed(items: Sequence[str]) -> str:
  """Items for a message: the first ones, and how many more there are."""
  if not items:
    return 'none'
  text = ', '.join(items[:_LISTED_NAMES])
  more = len(items) - _LISTED_NAMES
  return text if more <= 0 else f'{text} and {more} more'
