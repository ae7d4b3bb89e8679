"""How many rows a sequence of pooled queries has."""

import math

# A TPU keeps 8 rows of 128 lanes in a tile. Rows that are no whole tiles cost it
# copies of attention's probabilities from layout to layout: with 32 sequences a
# core, a block of 295 rows is estimated at 1.5 times the cycles of 296.
TILE_ROWS, WHOLE_TILES_FROM = 8, 128


def pooled_slots(
    sequence_length: int, num_predictions: int, pool_size: int) -> int:
  """Slots for the pooled, unmasked tokens of one sequence.

  Where the rows fill the lanes of a TPU there are a few slots more, always
  empty, so that the rows are whole tiles.

  Args:
    sequence_length: tokens, [CLS] among them.
    num_predictions: masked tokens that there is room for, a row each.
    pool_size: tokens that share a slot.
  """
  needed = max(
      0, math.ceil((sequence_length - 1 - num_predictions) / pool_size))
  rows = 1 + needed + num_predictions
  return needed + (-rows % TILE_ROWS if rows >= WHOLE_TILES_FROM else 0)
