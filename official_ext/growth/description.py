"""Says in words what a growth does, and whether it preserves the function."""

from official_ext.growth.architecture import Architecture

_FIELDS = (
    ('hidden_size', 'hidden'),
    ('num_heads', 'heads'),
    ('inner_size', 'inner'),
    ('ffn_sharing', 'ffn_sharing'),
    ('ffn_rank', 'ffn_rank'),
    ('num_layers', 'depth'),
    ('query_pool_size', 'query_pool'),
    ('sequence_length', 'sequence_length'),
)


def describe_operators(
    source: Architecture, target: Architecture, depth: str = 'append'
) -> list[str]:
  """One entry a difference: 'ffn_sharing 4 -> 1', 'depth 3 -> 6 (append)'."""
  operators = []
  for field, name in _FIELDS:
    old, new = getattr(source, field), getattr(target, field)
    if old != new:
      how = f' ({depth})' if field == 'num_layers' else ''
      operators.append(f'{name} {old} -> {new}{how}')
  return operators


def weight_growth_preserves(source: Architecture, target: Architecture) -> bool:
  """Whether the weights alone, all else equal, compute the same function.

  True for every widening, whatever happens to the query pooling, which has no
  weights: compare both models with the same pooling.
  """
  return source.num_layers == target.num_layers


def preserves_function(source: Architecture, target: Architecture) -> bool:
  """Whether the grown model computes what the source did, dropout off."""
  return (weight_growth_preserves(source, target)
          and source.query_pool_size == target.query_pool_size)
