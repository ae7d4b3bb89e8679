"""What the TPU compiler says of a plan's stages, as a table for people."""

import rich.box
import rich.table

from official_ext.analysis import quantities
from official_ext.analysis.cost_plan import CostPlan
from official_ext.analysis.preflight.operation_groups import GROUPS
from official_ext.analysis.preflight.operation_groups import RANDOM_NUMBERS
from official_ext.analysis.preflight.stage_estimate import ALL_REDUCE

_ROWS = (*GROUPS, ALL_REDUCE)


def stage_table(plan: CostPlan) -> rich.table.Table:
  """Milliseconds a step by group of operations, a column for each stage."""
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
  table.add_column('Milliseconds a step', no_wrap=True)
  stages = [stage for stage in plan.stages if not stage.compiled.error]
  for stage in stages:
    table.add_column(stage.stage.name, justify='right', no_wrap=True)
  seconds = [stage.compiled.seconds() for stage in stages]
  for row in _ROWS:
    table.add_row(row, *(_milliseconds(each[row]) for each in seconds))
  table.add_section()
  table.add_row('a step', *(
      _milliseconds(stage.compiled.step_seconds) for stage in stages))
  table.add_row(f'  without {RANDOM_NUMBERS}', *(
      _milliseconds(stage.compiled.step_seconds_without([RANDOM_NUMBERS]))
      for stage in stages))
  table.add_row('FLOPs as compiled, to products', *(
      '-' if stage.compiled.flops is None else
      f'{stage.compiled.flops / stage.compiled.product_flops:.3f}'
      for stage in stages))
  return table


def notes(plan: CostPlan) -> list[str]:
  """What the table is, what it leaves out, and what does not compile."""
  chip = plan.topology.chip
  lines = [
      f'Memory and times are estimates of the compiler for TPU {chip.name} at '
      f'{chip.clock_hertz / 1e6:.0f} MHz; nothing was run. It gives no cycles '
      "to what is fetched beside other work, to the chip's own random numbers, "
      'and to collectives. The all-reduce is worked out from bytes and the '
      'published speed of the links, and added at the end.']
  return lines + [
      f'Stage {stage.stage.name!r} does not compile: {stage.compiled.error}'
      for stage in plan.stages if stage.compiled.error]


def _milliseconds(seconds: float) -> str:
  return quantities.three_digits(1e3 * seconds)
