"""Interleaving: copies of a layer follow it (Gong et al., 2019, as a variant)."""

from official_ext.growth.depths.rule import DepthRule


def interleave_layers(num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """Target layer i copies `i * num_layers // new_num_layers`."""
  return tuple(
      layer * num_layers // new_num_layers for layer in range(new_num_layers))


INTERLEAVE = DepthRule(
    interleave_layers,
    summary='every layer is followed by its copies (interleaved stacking)')
