"""Every reason why one architecture cannot grow into another, found at once."""

from collections.abc import Mapping

from official_ext.growth.architecture import Architecture
from official_ext.growth.layer_maps import depth_rule_mistake
from official_ext.growth.named_weights import WeightSpec

_NEVER_SHRINKING = (
    'num_layers', 'hidden_size', 'num_heads', 'stored_inner_size',
    'sequence_length')
_UNCHANGED = ('vocab_size', 'max_positions', 'type_vocab_size', 'head_size')
_SHOWN_NAMES = 8


def growth_mistakes(
    source: Architecture, target: Architecture, depth: str = 'append'
) -> list[str]:
  """Lists what keeps `source` from growing into `target`; empty if nothing."""
  mistakes = [mistake for mistake in [depth_rule_mistake(depth)] if mistake]
  for field in _NEVER_SHRINKING:
    old, new = getattr(source, field), getattr(target, field)
    if new < old:
      mistakes.append(
          f'{field} shrinks from {old} to {new}; give at least {old}')
  for field in _UNCHANGED:
    old, new = getattr(source, field), getattr(target, field)
    if new != old:
      mistakes.append(f'{field} changes from {old} to {new}; keep {old}')
  if target.hidden_size > source.hidden_size and (
      target.hidden_size % source.hidden_size):
    mistakes.append(
        f'hidden_size {target.hidden_size} is not a multiple of '
        f'{source.hidden_size}, which breaks the LayerNorm statistics; give a '
        'multiple')
  if target.query_pool_size > source.query_pool_size:
    mistakes.append(
        f'query_pool_size rises from {source.query_pool_size} to '
        f'{target.query_pool_size}, which is a smaller model; give at most '
        f'{source.query_pool_size}')
  for side, architecture in (('source', source), ('target', target)):
    if architecture.ffn_rank is not None:
      mistakes.append(
          f'ffn_rank of the {side} is {architecture.ffn_rank}, which cannot be '
          'grown yet; give None')
  return mistakes


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
        f'{_shown(missing)}, unknown {_shown(unknown)}; give exactly the names '
        'of weight_specs')
  wrong = [
      f'{name} {tuple(weights[name].shape)} (expected {spec.shape})'
      for name, spec in specs.items()
      if name in weights and tuple(weights[name].shape) != spec.shape]
  if wrong:
    mistakes.append(
        f'{side} shapes do not match the architecture: {_shown(wrong)}; give '
        'the architecture that the weights were made for')
  return mistakes


def _shown(items: list[str]) -> str:
  if not items:
    return 'none'
  text = ', '.join(items[:_SHOWN_NAMES])
  more = len(items) - _SHOWN_NAMES
  return text if more <= 0 else f'{text} and {more} more'
