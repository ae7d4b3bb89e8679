"""A plan as tables for people."""

import io

import rich.box
import rich.console
import rich.table

from official_ext.analysis import compiled_table
from official_ext.analysis import quantities
from official_ext.analysis.cost_plan import CostPlan
from official_ext.analysis.cost_plan import savings
from official_ext.analysis.cost_plan import StagePlan

_WIDTH = 120
_HEADINGS = ('Stage', 'Steps', 'Layers', 'Width', 'Inner', 'Query\nlength',
             'Weights', 'Forward\nFLOPs', 'Training\nFLOPs', 'Memory\na core')
_TIME_HEADINGS = ('Step', 'Hours')


def render(plan: CostPlan, baseline: CostPlan, *,
           baseline_name: str | None = None) -> str:
  """The stages, the totals beside those of the baseline, and what was assumed.

  Args:
    plan: the run.
    baseline: what it is compared with.
    baseline_name: how to call that; None means the whole model at every step.
  """
  console = rich.console.Console(
      file=io.StringIO(), width=_WIDTH, color_system=None)
  console.print(_stage_table(plan))
  if plan.is_compiled:
    console.print(compiled_table.stage_table(plan))
  console.print(_totals_table(plan, baseline, baseline_name))
  for line in _notes(plan):
    console.print(line)
  text = console.file.getvalue()
  return '\n'.join(line.rstrip() for line in text.splitlines())


def _stage_table(plan: CostPlan) -> rich.table.Table:
  table = _table(*_HEADINGS, *(_TIME_HEADINGS if plan.topology else ()))
  for stage in plan.stages:
    table.add_row(*_stage_cells(stage, plan))
  return table


def _stage_cells(stage: StagePlan, plan: CostPlan) -> list[str]:
  architecture = stage.stage.architecture
  name = stage.stage.name
  if stage.stage.trained_part != 'all':
    name += f'\n  {stage.stage.trained_part}'
  memory = quantities.with_prefix(stage.memory_bytes, 'B')
  if _is_too_large(stage, plan):
    memory += ' !'
  inner = f'{architecture.stored_inner_size:,}'
  if architecture.ffn_rank is not None:
    inner += f' (rank {architecture.ffn_rank})'
  cells = [
      name, f'{stage.num_steps:,}', str(architecture.num_layers),
      f'{architecture.hidden_size:,}', inner, str(stage.query_length),
      quantities.with_prefix(stage.parameters),
      quantities.with_prefix(stage.forward_flops),
      quantities.with_prefix(stage.train_flops), memory]
  if plan.topology:
    cells += (['-', '-'] if stage.step_seconds is None else
              [quantities.duration(stage.step_seconds),
               quantities.three_digits(stage.hours)])
  return cells


def _is_too_large(stage: StagePlan, plan: CostPlan) -> bool:
  return plan.topology is not None and (
      stage.memory_bytes > plan.topology.chip.core_memory_bytes)


def _totals_table(plan: CostPlan, baseline: CostPlan,
                  baseline_name: str | None) -> rich.table.Table:
  saved = savings(plan, baseline)
  table = _table(
      'Whole run', 'This', baseline_name or 'Whole model throughout', 'Speed-up')
  table.add_row('steps', f'{plan.num_steps:,}', f'{baseline.num_steps:,}', '')
  for label, name in (('forward FLOPs, as the papers count', 'forward_flops'),
                      ('training FLOPs', 'train_flops')):
    table.add_row(
        label, quantities.with_prefix(getattr(plan, name)),
        quantities.with_prefix(getattr(baseline, name)),
        _speedup(getattr(saved, name)))
  if saved.walltime is not None:
    table.add_row(
        'hours (estimate)', quantities.three_digits(plan.hours),
        quantities.three_digits(baseline.hours), _speedup(saved.walltime))
  return table


def _notes(plan: CostPlan) -> list[str]:
  lines = [
      f'{plan.sequences_per_core} sequences on each of {plan.num_cores} '
      f'{"core" if plan.num_cores == 1 else "cores"}{_micro_batches(plan)}.']
  if any(stage.stage.trained_part != 'all' for stage in plan.stages):
    lines.append('Below the name of a stage: what of its model is trained.')
  if plan.is_compiled:
    lines += compiled_table.notes(plan)
  else:
    lines.append(
        'Memory is an estimate from shapes: weights, moments, gradients, '
        'activations and logits.')
  if plan.topology:
    chip = plan.topology.chip
    if not plan.is_compiled:
      lines.append(
          f'Times assume {plan.utilization:.0%} of the peak of TPU {chip.name} '
          'in bfloat16 in every stage.')
    lines.append(
        'Times leave out input, growth, evaluation and checkpoints. A core has '
        f'{quantities.with_prefix(chip.core_memory_bytes, "B")}' + (
            '; ! marks what does not fit.' if any(
                _is_too_large(stage, plan) for stage in plan.stages) else '.'))
    if any(_is_too_large(stage, plan) or stage.compiled and stage.compiled.error
           for stage in plan.stages):
      lines.append(
          'To make a stage fit, use more cores, or raise '
          'GRADIENT_ACCUMULATION_STEPS: the same steps in smaller micro-batches.')
  return lines


def _micro_batches(plan: CostPlan) -> str:
  number = plan.gradient_accumulation_steps
  return (f', in {number} micro-batches of {plan.sequences_per_core // number}'
          if number > 1 else '')


def _table(*headings: str) -> rich.table.Table:
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
  for position, heading in enumerate(headings):
    # Names may take two lines; half a figure would be another figure.
    table.add_column(heading, justify='right' if position else 'left',
                     no_wrap=bool(position), min_width=None if position else 14)
  return table


def _speedup(fraction: float) -> str:
  return f'{100 * fraction:+.1f} %'
