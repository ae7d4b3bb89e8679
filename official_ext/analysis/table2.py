"""CompoundGrow's Table 2 (speed-ups over BERT), beside plans of the same runs."""

from collections.abc import Callable, Sequence
import dataclasses
import io
from typing import Any

import rich.box
import rich.console
import rich.table

from official_ext.analysis import cost_plan
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight.operation_groups import RANDOM_NUMBERS
from official_ext.analysis.preflight.stage_estimate import ALL_REDUCE
from official_ext.analysis.preflight.tpu_compiler import TpuCompiler
from official_ext.training.run_config import PretrainConfig

_NUM_CORES = 128
_WIDTH = 120


@dataclasses.dataclass(frozen=True)
class Published:
  """A line of the paper's table; speed-ups over the whole model, 1.0 is +100 %.

  Attributes:
    experiment: the gin file of the same run.
    params: settings on top.
    name: what to call it.
    flops: speed-up in FLOPs.
    walltime: measured speed-up in walltime.
  """

  experiment: str
  params: tuple[str, ...]
  name: str
  flops: float
  walltime: float


# The text of the paper does not say with which sharing.
PUBLISHED = (
    Published('stack_base', (), 'stacking, base', 0.687, 0.649),
    *(Published('compound_grow_base', (f'FFN_SHARING = {sharing}',),
                f'CompoundGrow, base, sharing {sharing}', 1.071, 0.736)
      for sharing in (2, 4)),
    Published('stack_large', (), 'stacking, large', 0.707, 0.697),
    *(Published('compound_grow_large', (f'FFN_SHARING = {sharing}',),
                f'CompoundGrow, large, sharing {sharing}', 1.114, 0.822)
      for sharing in (2, 4)))


@dataclasses.dataclass(frozen=True)
class Row:
  """A published line and what is planned here; speed-ups, None if unknown.

  Attributes:
    published: the line.
    forward_flops: as the paper counts.
    train_flops: of training steps.
    walltime: of the step as it is compiled, with the all-reduce after it.
    walltime_computing: the same without the all-reduce.
    walltime_without_random: without the all-reduce and dropout's random numbers.
    errors: why stages do not compile.
  """

  published: Published
  forward_flops: float
  train_flops: float
  walltime: float | None
  walltime_computing: float | None
  walltime_without_random: float | None
  errors: tuple[str, ...]

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def make_row(
    published: Published,
    load: Callable[[str, Sequence[str]], PretrainConfig], *,
    topology: Topology | None = None, compiler: TpuCompiler | None = None
) -> Row:
  """Plans the run of a published line.

  Args:
    published: the line.
    load: (experiment, settings) -> configuration.
    topology: gives the chip; the paper's 128 cores are assumed anyway.
    compiler: estimates the times; None leaves them out.
  """
  plan = cost_plan.make_plan(
      load(published.experiment, published.params), num_cores=_NUM_CORES,
      topology=topology, compiler=compiler)
  baseline = cost_plan.full_model_plan(plan)
  saved = cost_plan.savings(plan, baseline)
  walltimes = [
      cost_plan.walltime_speedup(plan, baseline, without)
      for without in ((), (ALL_REDUCE,), (ALL_REDUCE, RANDOM_NUMBERS))]
  return Row(
      published, saved.forward_flops, saved.train_flops, *walltimes,
      tuple(f'{stage.stage.name}: {stage.compiled.error}'
            for stage in plan.stages if stage.compiled and stage.compiled.error))


def render(rows: Sequence[Row], topology: Topology | None) -> str:
  """The table for people."""
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
  headings = ['Speed-up', 'FLOPs,\npaper', 'forward\nFLOPs', 'training\nFLOPs']
  if topology:
    headings += ['walltime,\npaper', 'walltime,\nestimate',
                 'no all-\nreduce', 'nor random\nnumbers']
  for position, heading in enumerate(headings):
    table.add_column(
        heading, justify='right' if position else 'left', no_wrap=True)
  for row in rows:
    values = [row.published.flops, row.forward_flops, row.train_flops]
    if topology:
      values += [row.published.walltime, row.walltime, row.walltime_computing,
                 row.walltime_without_random]
    table.add_row(row.published.name, *map(_speedup, values))
  console = rich.console.Console(
      file=io.StringIO(), width=_WIDTH, color_system=None)
  console.print(table)
  if topology:
    console.print(
        'Walltimes of the paper are measured, ours are estimates of the '
        f"compiler for TPU {topology.chip.name}, two sequences a core, {_NUM_CORES} "
        'cores; nothing was run.')
  for row in rows:
    for error in row.errors:
      console.print(f'{row.published.name} does not compile: {error}')
  return '\n'.join(
      line.rstrip() for line in console.file.getvalue().splitlines())


def _speedup(fraction: float | None) -> str:
  return '-' if fraction is None else f'{100 * fraction:+.1f} %'
