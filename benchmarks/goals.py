"""Sets what CompoundGrow saves beside this project's goals, in one table.

    python benchmarks/goals.py --part tpu --cache_dir CACHE
    python benchmarks/goals.py --part cpu

The baseline is the full model on *stock* Model Garden classes at every step; the
schedule is CompoundGrow's of section 4.1 with FFN sharing 4. Times on a TPU are
the compiler's estimate (see docs/plan.md), without an all-reduce; nothing is
run. Times on this machine are medians of steps that take turns. Exits with 1 if
a goal is missed.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import sys

PREDICTIONS = 76
FFN_SHARING = 4
LEAST_CPU_SPEEDUP, LEAST_STAGE_GAIN, LEAST_SHARE_OF_FLOPS = 1.15, 0.10, 0.95


@dataclasses.dataclass(frozen=True)
class TpuGoal:
  """A speed-up that is to be reached on a chip.

  Attributes:
    size: 'base' or 'large'.
    topology: smallest of the chip.
    sequences: on a core.
    speedup: 1.0 is +100 %; None means `LEAST_SHARE_OF_FLOPS` of that in FLOPs.
  """
  size: str
  topology: str
  sequences: int
  speedup: float | None


TPU_GOALS = (
    TpuGoal('base', 'v3:2x2', 2, 1.07),
    TpuGoal('large', 'v3:2x2', 2, 1.11),
    TpuGoal('base', 'v5e:2x2', 32, None))


def main() -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--part', choices=('tpu', 'cpu', 'all'), default='all')
  parser.add_argument('--only', help='one TPU goal, such as base-v3 or base-v5e')
  parser.add_argument('--cache_dir', type=pathlib.Path,
                      default=pathlib.Path('runs/preflight_cache'),
                      help='where compiled programs are kept')
  parser.add_argument('--tpu_python', help='see `plan --help`')
  parser.add_argument('--repeats', type=int, default=5,
                      help='timed steps of each model on this machine')
  options = parser.parse_args()
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  rows = []
  if options.part != 'cpu':
    rows += [row for goal in TPU_GOALS
             if options.only in (None, f'{goal.size}-{goal.topology[:-4]}')
             for row in _tpu_rows(goal, options)]
  if options.part != 'tpu':
    rows += _cpu_rows(options.repeats)
  return _print(rows)


def _architecture(size: str):
  from official_ext.growth.architecture import Architecture
  shape = {'base': dict(num_layers=12, hidden_size=768, num_heads=12),
           'large': dict(num_layers=24, hidden_size=1024, num_heads=16)}[size]
  return Architecture(inner_size=4 * shape['hidden_size'], vocab_size=30522,
                      max_positions=512, **shape)


def _stages(size: str):
  from official_ext.schedules import compound_grow
  return compound_grow(ffn_sharing=FFN_SHARING).resolve(
      _architecture(size), 1000)


def _speedup(stages, costs, baseline: float) -> float:
  steps = [stage.end_step - stage.start_step for stage in stages]
  spent = sum(count * cost for count, cost in zip(steps, costs, strict=True))
  return sum(steps) * baseline / spent - 1


def _flops_speedup(stages) -> float:
  """Training FLOPs of the stages over those of the stock model."""
  from official_ext.analysis import flops
  return _speedup(
      stages, [flops.stage_train_flops(stage, PREDICTIONS) for stage in stages],
      3 * flops.forward_flops(stages[-1].architecture, PREDICTIONS))


def _tpu_rows(goal: TpuGoal, options) -> list[tuple[str, float, float | None]]:
  from official_ext.analysis.accelerators import Topology
  from official_ext.analysis.preflight.estimate_cache import EstimateCache
  from official_ext.analysis.preflight.step_program import StepProgram
  from official_ext.analysis.preflight.tpu_compiler import TpuCompiler
  topology = Topology.parse(goal.topology)
  compiler = TpuCompiler(
      EstimateCache(options.cache_dir), options.tpu_python,
      say=lambda line: print(f'  {line}', file=sys.stderr))
  stages = _stages(goal.size)
  cycles = []
  for stage in stages:
    step = compiler.estimate(StepProgram(
        architecture=stage.architecture, num_layers=None, trained_layers=None,
        sequences=goal.sequences, num_predictions=PREDICTIONS,
        precision='mixed_bfloat16', optimizer='adamw', weight_decay_rate=0.01,
        has_warmup=True, clips_gradients=True, output_dropout=0.1,
        attention_dropout=0.1, query_pool_type='mean', use_next_sentence=True),
        topology)
    cycles.append(_said(f'{goal.size} {stage.name}', step))
  stock = _said(f'{goal.size} stock', _compiled_stock(
      stages[-1].architecture, goal, compiler))
  name = f'{goal.size}, {topology.chip.name}, {goal.sequences} sequences a core'
  reached, by_flops = _speedup(stages, cycles, stock), _flops_speedup(stages)
  return [
      (f'{name}: schedule', reached,
       LEAST_SHARE_OF_FLOPS * by_flops if goal.speedup is None
       else goal.speedup),
      (f'{name}: by training FLOPs', by_flops, None),
      (f'{name}: full stage faster than stock', stock / cycles[-1] - 1, None)]


def _said(name: str, step) -> int:
  """The cycles of a compiled step, which are printed by group."""
  if step.error:
    raise SystemExit(f'error: {name} does not compile: {step.error}')
  print(f'{name:14s} {step.total_cycles / 1e6:7.2f} Mcycles: ' + ', '.join(
      f'{group} {count / 1e6:.2f}' for group, count in step.cycles.items()
      if count), flush=True)
  return step.total_cycles


def _compiled_stock(architecture, goal: TpuGoal, compiler):
  import tf_keras
  from official_ext.analysis.preflight import compiled_step
  from official_ext.analysis.preflight import stablehlo_text
  import steps
  tf_keras.backend.reset_uids()
  tf_keras.mixed_precision.set_global_policy('mixed_bfloat16')
  batch = steps.batch_of(
      goal.sequences, architecture.sequence_length, PREDICTIONS,
      architecture.vocab_size)
  step = steps.stock_step(architecture, jit_compile=True)
  text = stablehlo_text.for_newer_parsers(step.experimental_get_compiler_ir(
      steps.stock_inputs(batch), batch)(stage='stablehlo'))
  tf_keras.mixed_precision.set_global_policy('float32')
  result, optimized = compiler.compile(text, goal.topology)
  return compiled_step.from_compiler(
      result, optimized, stablehlo_text.product_flops(text))


def _cpu_rows(repeats: int) -> list[tuple[str, float, float | None]]:
  from train_step import measure
  import steps
  stages = _stages('base')
  full = stages[-1].architecture
  batch = steps.batch_of(
      4, full.sequence_length, PREDICTIONS, full.vocab_size)
  stock, inputs = steps.stock_step(full, False), steps.stock_inputs(batch)
  calls = {stage.name: steps.our_step(stage.architecture, batch, False)
           for stage in stages}
  seconds, cpu_seconds = measure(
      calls | {'stock': lambda: stock(inputs, batch)}, repeats)
  rows = []
  for clock, times in (('', seconds), (' (processor time)', cpu_seconds)):
    medians = {name: statistics.median(each) for name, each in times.items()}
    print(f'seconds a step{clock}: ' + ', '.join(
        f'{name} {median:.2f}' for name, median in medians.items()))
    baseline = medians.pop('stock')
    rows += [
        (f'base, {steps.machine()}, batch 4: schedule{clock}',
         _speedup(stages, list(medians.values()), baseline),
         None if clock else LEAST_CPU_SPEEDUP),
        (f'the same: full stage faster than stock{clock}',
         baseline / medians['full'] - 1, None if clock else LEAST_STAGE_GAIN)]
  return [*rows, ('the same: by training FLOPs', _flops_speedup(stages), None)]


def _print(rows: list[tuple[str, float, float | None]]) -> int:
  missed = 0
  print(f'\n{"":70s} {"value":>9s} {"goal":>9s}')
  for name, value, goal in rows:
    is_met = goal is None or value >= goal
    missed += not is_met
    verdict = '' if goal is None else 'met' if is_met else 'MISSED'
    shown = '' if goal is None else f'{100 * goal:+.1f} %'
    print(f'{name:70s} {100 * value:+7.1f} % {shown:>9s}  {verdict}'.rstrip())
  return int(missed > 0)


if __name__ == '__main__':
  sys.exit(main())
