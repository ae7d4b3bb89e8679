"""The paper's table beside ours, with steps whose cycles are chosen."""

import pytest

from official_ext import configuration
from official_ext.analysis import table2
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight import operation_groups
from official_ext.analysis.preflight.compiled_step import CompiledStep
from official_ext.analysis.preflight.compiled_step import failed

_V3 = Topology.parse('v3:8x8')
(_STACK_BASE,) = [line for line in table2.PUBLISHED
                  if line.experiment == 'stack_base']


class CyclesByDepth:
  """Says of a step that each layer takes a millisecond, and its masks another."""

  def __init__(self, broken_layers=None):
    self._broken_layers = broken_layers

  def estimate(self, program, topology):
    layers = program.architecture.num_layers
    if layers == self._broken_layers:
      return failed('no lowering', 'bert/x')
    cycles = layers * topology.chip.clock_hertz / 1000
    return CompiledStep(
        memory_bytes=1, flops=1.0, product_flops=1,
        cycles=dict.fromkeys(operation_groups.GROUPS, 0) | {
            'attention': cycles, operation_groups.RANDOM_NUMBERS: cycles})


def load(experiment, params):
  config, _ = configuration.load_config(
      [f'experiments/{experiment}.gin'], params, require_directories=False)
  return config


def test_walltimes_by_hand():
  row = table2.make_row(_STACK_BASE, load, topology=_V3, compiler=CyclesByDepth())
  stages = load('stack_base', ()).resolve()
  shares = [stage.num_steps / stages[-1].end_step for stage in stages]
  depths = [stage.architecture.num_layers for stage in stages]
  assert depths == [3, 6, 12]
  mean = sum(share * depth for share, depth in zip(shares, depths))
  assert row.walltime == pytest.approx(12 / mean - 1)
  assert row.points_off == pytest.approx(row.walltime - 0.649)
  # Twice as many cycles everywhere are no other speed-up; a sum that is nearly
  # the same in every stage makes it less.
  assert row.walltime_with_random == pytest.approx(row.walltime)
  assert row.walltime_with_all_reduce < row.walltime
  text = table2.render([row], _V3)
  percent = f'{100 * row.walltime:+.1f} %'
  lines = {line[:31].strip(): line[31:].strip() for line in text.splitlines()}
  assert lines['walltime, paper'] == '+64.9 %'
  assert lines["walltime, compiler's estimate"] == percent
  assert lines['with random numbers'] == percent
  assert 'nothing was run.' in ' '.join(text.split())


def test_the_table_for_a_document():
  row = table2.make_row(_STACK_BASE, load)
  assert row.walltime is None
  assert table2.render([row], None, is_markdown=True).splitlines() == [
      '| Speed-up over the whole model | stacking, base |', '|---|---|',
      '| FLOPs, paper | +68.7 % |', '| forward FLOPs | +69.3 % |',
      '| training FLOPs | +76.9 % |']


def test_a_stage_that_does_not_compile_is_named():
  row = table2.make_row(
      _STACK_BASE, load, topology=_V3, compiler=CyclesByDepth(broken_layers=6))
  assert row.walltime is None and row.points_off is None
  assert 'stacking, base does not compile: half: bert/x: no lowering' in (
      ' '.join(table2.render([row], _V3).split()))
