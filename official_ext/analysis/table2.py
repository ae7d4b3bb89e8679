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
_WIDTH = 130
_CORNER = 'Speed-up over the whole model'


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


# The paper's text does not give the sharing. The authors' released code has 4.
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
    walltime: by the cycles that the compiler gives to a step's operations, but
      for those that draw dropout's masks.
    walltime_with_random: by all cycles of the step as it is compiled.
    walltime_with_all_reduce: the same, and the all-reduce of the gradients.
    errors: why stages do not compile.
  """

  published: Published
  forward_flops: float
  train_flops: float
  walltime: float | None
  walltime_with_random: float | None
  walltime_with_all_reduce: float | None
  errors: tuple[str, ...]

  @property
  def points_off(self) -> float | None:
    """Points by which `walltime` is above the paper's; 0.01 is a point."""
    return (None if self.walltime is None
            else self.walltime - self.published.walltime)

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self) | {'points_off': self.points_off}


_FLOPS_LINES = (
    ('FLOPs, paper', lambda row: _percent(row.published.flops)),
    ('forward FLOPs', lambda row: _percent(row.forward_flops)),
    ('training FLOPs', lambda row: _percent(row.train_flops)))
_WALLTIME_LINES = (
    ('walltime, paper', lambda row: _percent(row.published.walltime)),
    ("walltime, compiler's estimate", lambda row: _percent(row.walltime)),
    ('  points off', lambda row: _points(row.points_off)),
    ('  with random numbers', lambda row: _percent(row.walltime_with_random)),
    ('  and the all-reduce', lambda row: _percent(row.walltime_with_all_reduce)))
_MEANINGS = (
    "The compiler's estimate: the cycles that it gives to the operations of a "
    'step, but for those that draw dropout\'s masks.',
    'With random numbers: all its cycles, also where it writes the generator of '
    'the masks out in arithmetic; to the chip\'s own generator it gives none.',
    'And the all-reduce: after each step the gradients are added up over the '
    'cores, by bytes and the published speed of the links.')


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
      for without in ((ALL_REDUCE, RANDOM_NUMBERS), (ALL_REDUCE,), ())]
  return Row(
      published, saved.forward_flops, saved.train_flops, *walltimes,
      tuple(f'{stage.stage.name}: {stage.compiled.error}'
            for stage in plan.stages if stage.compiled and stage.compiled.error))


def render(rows: Sequence[Row], topology: Topology | None, *,
           is_markdown: bool = False) -> str:
  """The table for people, a published line a column.

  Args:
    rows: the lines.
    topology: what times were estimated for; None leaves them out.
    is_markdown: whether to write it for a document.
  """
  lines = _FLOPS_LINES + (_WALLTIME_LINES if topology else ())
  table = [[_CORNER, *(row.published.name for row in rows)]]
  table += [[name, *map(value, rows)] for name, value in lines]
  notes = [f'{row.published.name} does not compile: {error}'
           for row in rows for error in row.errors]
  if topology:
    notes = [
        'Walltimes of the paper are measured, ours are estimates of the '
        f'compiler for TPU {topology.chip.name}, two sequences a core, '
        f'{_NUM_CORES} cores; nothing was run.', *_MEANINGS, *notes]
  return (_markdown if is_markdown else _text)(table, notes)


def _markdown(table: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
  rows = [f'| {" | ".join(cell.strip() for cell in row)} |' for row in table]
  rule = '|' + '---|' * len(table[0])
  return '\n'.join([rows[0], rule, *rows[1:], '', *notes])


def _text(table: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
  grid = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
  for position, heading in enumerate(table[0]):
    grid.add_column(heading.replace(', ', ',\n'), no_wrap=True,
                    justify='right' if position else 'left')
  for row in table[1:]:
    grid.add_row(*row)
  console = rich.console.Console(
      file=io.StringIO(), width=_WIDTH, color_system=None)
  console.print(grid, *notes, sep='\n', highlight=False)
  return '\n'.join(
      line.rstrip() for line in console.file.getvalue().splitlines())


def _percent(fraction: float | None) -> str:
  return '-' if fraction is None else f'{100 * fraction:+.1f} %'


def _points(fraction: float | None) -> str:
  return '-' if fraction is None else f'{100 * fraction:+.1f}'
