"""Whole stacks, then the remainder from the top (bert2BERT, MSLT)."""

from official_ext.growth.depths.rule import DepthRule


def top_layers(num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """Whole stacks, then the remainder from the top.

  bert2BERT stacks `new_num_layers // num_layers` times and takes the rest from
  the top layers. With fewer new layers than old ones this is MSLT (Yang et al.,
  2020): copies of the top m layers are put on top.
  """
  stacks, remainder = divmod(new_num_layers, num_layers)
  return (tuple(range(num_layers)) * stacks
          + tuple(range(num_layers - remainder, num_layers)))


TOP = DepthRule(
    top_layers,
    summary='whole stacks, then the top layers once more (bert2BERT, MSLT)')
