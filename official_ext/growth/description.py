"""Says in words what a growth does."""

from official_ext.growth.architecture import Architecture

_FIELDS = (
    ('ffn_rank', 'ffn_rank'),
    ('hidden_size', 'hidden'),
    ('norm_source_size', 'weighted_norm'),
    ('num_heads', 'heads'),
    ('inner_size', 'inner'),
    ('ffn_sharing', 'ffn_sharing'),
    ('num_layers', 'depth'),
    ('query_pool_size', 'query_pool'),
    ('sequence_length', 'sequence_length'),
)
_WIDTHS = ('hidden_size', 'num_heads', 'inner_size')


def describe_operators(
    source: Architecture, target: Architecture, *, width: str = 'fpi',
    depth: str = 'append') -> list[str]:
  """One entry a difference: 'ffn_sharing 4 -> 1', 'depth 3 -> 6 (append)'.

  Args:
    source: what there is.
    target: what there shall be.
    width: rule for new units, a name in `WIDTH_RULES`.
    depth: rule for new layers, a name in `DEPTH_RULES`.
  """
  rules = dict.fromkeys(_WIDTHS, width) | {'num_layers': depth}
  # To undo sharing is to copy; only another rule is worth a word.
  if width != 'fpi':
    rules['ffn_sharing'] = width
  operators = []
  for field, name in _FIELDS:
    old, new = getattr(source, field), getattr(target, field)
    if old != new:
      how = f' ({rules[field]})' if field in rules else ''
      operators.append(f'{name} {old} -> {new}{how}')
  return operators
