"""AKI as the formula of bert2BERT reads: every kernel's new out-columns."""

import dataclasses

from official_ext.growth.unit_maps import UnitMap
from official_ext.growth.widths.fpi import copy_in_turn
from official_ext.growth.widths.rule import Widening
from official_ext.growth.widths.rule import WidthRule


def produce_from_above(widening: Widening) -> UnitMap:
  """Added unit j is produced by the layer above, from its unit `j mod size`.

  With `W_l` a kernel `[in, out]` of layer l, `g` the unit maps of FPI, `c`
  their numbers of copies and `d` the old number of out-units, the kernel first
  grows along its in-axis, in layer l as in layer l + 1:

      V_l[i, :] = W_l[g_in(i), :] / c_in(i)

  and then along its out-axis:

      U_l[:, j] = V_l[:, g_out(j)]       for j < d
      U_l[:, j] = V_{l + 1}[:, g_out(j)] for j >= d

  (bert2BERT, Chen et al., 2022, the section on AKI). Biases follow the
  out-axis. This holds for every kernel of a block, so the new residual columns
  of the attention output and the feed-forward output come from layer l + 1 too,
  while each old column keeps all rows of its own layer. The top layer has no
  layer above it and follows FPI, and so do the LayerNorms, the embeddings and
  the heads: the formula is about the kernels of blocks.

  `aki` differs in two places. It moves a new head or feed-forward unit as a
  whole, so the rows that read it come from layer l + 1 too; and the residual
  stream follows FPI. A public port reads the formula as `aki` does.
  """
  unit_map = copy_in_turn(widening)
  added = widening.new_size - widening.size
  if not added or widening.layer == widening.num_layers - 1:
    return unit_map
  return dataclasses.replace(
      unit_map,
      layers=(widening.layer,) * widening.size + (widening.layer + 1,) * added)


AKI_LITERAL = WidthRule(
    copy_in_turn,
    summary='new out-columns of every kernel come from the layer above '
    '(bert2BERT, AKI by its formula)',
    preserves='does not preserve the function, unless there is only one layer',
    produced_map=produce_from_above)
