"""Middle stacking (MIDAS: Saunshi et al., 2024): the middle is repeated."""

from official_ext.growth.depths.rule import DepthRule


def middle_layers(num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """The middle block is repeated in place; the first and last layers stay so.

  Of L layers and n new ones at most `L - 2` are repeated at a time (all, if
  there are no more than two), a block in the middle. Where L and the block's
  size differ by an odd number, the bottom keeps one layer less than the top.
  More new layers repeat the block again, the remainder being the middle of it.
  """
  added = new_num_layers - num_layers
  size = max(1, min(added, num_layers - 2 if num_layers > 2 else num_layers))
  start = (num_layers - size) // 2
  block = tuple(range(start, start + size))
  repeats, remainder = divmod(added, size)
  first = start + (size - remainder) // 2
  return (tuple(range(start + size)) + block * repeats
          + tuple(range(first, first + remainder))
          + tuple(range(start + size, num_layers)))


MIDDLE = DepthRule(
    middle_layers,
    summary='the middle layers are repeated in the middle (MIDAS)')
