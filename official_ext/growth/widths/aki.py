"""Advanced knowledge initialization (bert2BERT): new units of the layer above."""

from official_ext.growth.unit_maps import UnitMap
from official_ext.growth.widths.fpi import copy_in_turn
from official_ext.growth.widths.rule import Widening
from official_ext.growth.widths.rule import WidthRule


def copy_from_above(widening: Widening) -> UnitMap:
  """Old units stay; added unit j copies unit `j mod size` of the layer above.

  Copied are the parameters that produce the unit and the rows of the kernel
  that reads it, divided as in FPI. The top layer has none above it, and the
  residual stream none at all: both follow FPI.

  Each new unit is moved as a whole here, as in a public port of bert2BERT. By
  the paper's formula only out-columns come from the layer above, those of the
  residual stream included: `aki_literal` does that.
  """
  unit_map = copy_in_turn(widening)
  is_top = widening.layer == widening.num_layers - 1
  if (widening.group == 'residual' or is_top
      or widening.new_size == widening.size):
    return unit_map
  added = widening.new_size - widening.size
  return UnitMap(
      unit_map.sources, unit_map.shares,
      (widening.layer,) * widening.size + (widening.layer + 1,) * added)


AKI = WidthRule(
    copy_from_above,
    summary='new heads and feed-forward units come from the layer above '
    '(bert2BERT, AKI)',
    preserves='does not preserve the function, unless only the residual stream '
    'is widened')
