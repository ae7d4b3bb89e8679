"""Stacking (Gong et al., 2019): copies of the whole stack on top of it."""

from official_ext.growth.depths.rule import DepthRule


def append_layers(num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """Target layer i copies `i mod num_layers`."""
  return tuple(layer % num_layers for layer in range(new_num_layers))


APPEND = DepthRule(
    append_layers,
    summary='the stack is repeated on top of itself (StackBERT)')
