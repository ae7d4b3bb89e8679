"""The table of a comparison, as a paper prints it: CSV, LaTeX, JSON."""

import csv
import dataclasses
import io
from typing import Any

from official_ext.analysis.comparison import ComparedRun
from official_ext.analysis.comparison import Comparison

# Speed-ups as a user names them, and what they are of.
SPEEDUPS = ('flops', 'seconds', 'steps', 'profiled')


def rows(comparison: Comparison) -> list[dict[str, Any]]:
  """One row a run, the baseline first; numbers, None where one is not known.

  Speed-ups are over the baseline in percent, walltime without evaluation and
  profiling.
  """
  found = []
  for run in comparison.runs:
    last = run.summary.last_held_out or {}
    row = {
        'run': run.name, 'stages': len(run.stages), 'steps': run.summary.step,
        'train_flops': run.flops,
        'flops_speedup_percent': _percent(comparison.speedup(run, 'flops')),
        'walltime_seconds': run.seconds,
        'walltime_speedup_percent': _percent(comparison.speedup(run, 'seconds')),
        'step_time_speedup_percent': _percent(
            comparison.speedup(run, 'profiled')),
        'held_out_loss': last.get('loss'),
        'accuracy_percent': _percent(last.get(run.summary.accuracy_metric))}
    for loss in comparison.losses:
      point = run.reached(loss)
      row[f'steps_to_{loss:g}'] = point and point.step
      row[f'flops_to_{loss:g}'] = point and point.flops
      row[f'seconds_to_{loss:g}'] = point and point.seconds
    found.append(row)
  return found


def to_csv(comparison: Comparison) -> str:
  """All of `rows`, unrounded; what is not known is empty."""
  table = rows(comparison)
  text = io.StringIO()
  writer = csv.DictWriter(text, fieldnames=list(table[0]), lineterminator='\n')
  writer.writeheader()
  writer.writerows(table)
  return text.getvalue()


def to_latex(comparison: Comparison) -> str:
  """A `tabular` with the rules of `booktabs`."""
  losses = comparison.losses
  columns = ['Method', 'FLOPs', 'Speed-up', 'Walltime (h)', 'Speed-up', 'Loss',
             r'Accuracy (\%)', *[f'h to loss {loss:g}' for loss in losses]]
  lines = [r'\begin{tabular}{l' + 'r' * (len(columns) - 1) + '}', r'\toprule',
           ' & '.join(columns) + r' \\', r'\midrule']
  for row, run in zip(rows(comparison), comparison.runs):
    is_baseline = run is comparison.baseline
    cells = [
        _escape(row['run']), _power(row['train_flops']),
        '--' if is_baseline else _signed(row['flops_speedup_percent']),
        _hours(row['walltime_seconds']),
        '--' if is_baseline else _signed(row['walltime_speedup_percent']),
        _fixed(row['held_out_loss'], 3), _fixed(row['accuracy_percent'], 1),
        *[_hours(row[f'seconds_to_{loss:g}']) for loss in losses]]
    lines.append(' & '.join(cells) + r' \\')
  return '\n'.join([*lines, r'\bottomrule', r'\end{tabular}', ''])


def to_json(comparison: Comparison) -> dict[str, Any]:
  """Everything that the page shows, in seconds, FLOPs and shares of one."""
  return {
      'baseline': comparison.baseline.name,
      'losses': list(comparison.losses),
      'table': rows(comparison),
      'runs': [_run_to_json(comparison, run) for run in comparison.runs]}


def _run_to_json(comparison: Comparison, run: ComparedRun) -> dict[str, Any]:
  return {
      'name': run.name, 'path': run.summary.path,
      'is_finished': run.summary.is_finished,
      'differences': list(run.differences),
      'spent_seconds': dict(run.spent_seconds),
      'speedup': {name: comparison.speedup(run, name) for name in SPEEDUPS},
      'stages': [
          {'index': times.stage.index, 'name': times.stage.name,
           'start_step': times.stage.start_step,
           'end_step': times.stage.end_step,
           'flops_per_step': times.stage.flops_per_step,
           'num_traced_steps': times.num_traced_steps,
           'median_seconds': times.median_seconds,
           'p90_seconds': times.p90_seconds, 'mean_seconds': times.mean_seconds,
           'shares': times.shares and dict(times.shares),
           'wall_seconds': times.wall_seconds,
           'logged_seconds': times.logged_seconds} for times in run.stages],
      'held_out': [dataclasses.asdict(point) for point in run.points],
      'growths': [{name: growth.get(name) for name in (
          'step', 'operators', 'loss_before', 'loss_after', 'seconds')}
                  for growth in run.summary.growths],
      'to_loss': [
          {'loss': loss, 'first': _point(run.reached(loss)),
           'for_good': _point(run.reached_for_good(loss)),
           'speedup': {
               quantity: comparison.speedup_to(run, loss, quantity)
               for quantity in ('step', 'flops', 'seconds')}}
          for loss in comparison.losses]}


def _point(point) -> dict[str, float] | None:
  return point and dataclasses.asdict(point)


def _percent(share: float | None) -> float | None:
  return None if share is None else 100 * share


def _fixed(value: float | None, digits: int) -> str:
  return '--' if value is None else f'{value:.{digits}f}'


def _signed(percent: float | None) -> str:
  return '--' if percent is None else rf'${percent:+.1f}\,\%$'


def _hours(seconds: float | None) -> str:
  return '--' if seconds is None else f'{seconds / 3600:.3g}'


def _power(value: float) -> str:
  mantissa, exponent = f'{value:.2e}'.split('e')
  return rf'${mantissa}\times10^{{{int(exponent)}}}$'


def _escape(text: str) -> str:
  for character in r'\_%&#${}':
    text = text.replace(
        character, r'\textbackslash ' if character == '\\' else '\\' + character)
  return text
