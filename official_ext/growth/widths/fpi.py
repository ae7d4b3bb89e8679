"""Function-preserving initialization (bert2BERT): copies, taken in turn.

Departing from bert2BERT (Chen et al., 2022), which draws the old unit of each
new one uniformly at random, units are copied in turn. Every unit then has the
same number of copies whenever the new size is a multiple of the old one, which
keeps the statistics of LayerNorm, and the rule needs no seed. `net2net` is the
rule that samples.
"""

from official_ext.growth.unit_maps import UnitMap
from official_ext.growth.widths.rule import Widening
from official_ext.growth.widths.rule import WidthRule


def copy_in_turn(widening: Widening) -> UnitMap:
  """New unit j copies unit `j mod size`."""
  return UnitMap.wrap(widening.size, widening.new_size)


FPI = WidthRule(
    copy_in_turn,
    summary='new units copy the old ones in turn (bert2BERT, FPI)',
    preserves='preserves the function, if every residual unit gets as many '
    'copies or the LayerNorms are weighted')
