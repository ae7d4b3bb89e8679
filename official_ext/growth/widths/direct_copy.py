"""Direct copy (a baseline of bert2BERT): old weights in the corner, rest fresh."""

from official_ext.growth.unit_maps import UnitMap
from official_ext.growth.widths.rule import Widening
from official_ext.growth.widths.rule import WidthRule


def keep_and_add_fresh(widening: Widening) -> UnitMap:
  """Old units stay, undivided; added ones are fresh."""
  return UnitMap(
      tuple(range(widening.new_size)),
      num_fresh=widening.new_size - widening.size)


DIRECT_COPY = WidthRule(
    keep_and_add_fresh,
    summary='old weights fill the corner, new units are fresh (bert2BERT, '
    'DirectCopy)',
    preserves='does not preserve the function')
