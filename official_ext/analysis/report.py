"""`report.html`: one self-contained page about one run.

  python -m official_ext.analysis.report --model_dir=runs/quickstart/model

`train` writes it at its end; this makes it anew, also while a run goes on.
"""

from collections.abc import Iterator
import os
import posixpath
from typing import Any

REPORT_FILE = 'report.html'
_TEMPLATE = 'report.html.jinja'


def write_report(model_dir: str) -> str:
  """Writes the report of a run, and its pictures beside it.

  Args:
    model_dir: run directory; the run may be over or still going on. May be
      remote.

  Returns:
    Path of `report.html`.

  Raises:
    ValueError: `model_dir` holds no run.
  """
  from official_ext.analysis import page
  from official_ext.analysis import run_figures
  from official_ext.analysis import run_summary
  run = run_summary.read_run(model_dir)
  pictures = run_figures.draw(run)
  text = _render(run, pictures)
  page.write_files(model_dir, pictures | {REPORT_FILE: text.encode()})
  return os.path.join(model_dir, REPORT_FILE)


def _render(run, pictures: dict[str, bytes]) -> str:
  from official_ext.analysis import page
  return page.render(
      _TEMPLATE,
      run=run,
      name=posixpath.basename(run.path.rstrip('/')) or run.path,
      ribbons=_ribbons(run),
      data_facts=list(_facts(run.manifest)),
      pictures=page.embedded(pictures))


def _ribbons(run) -> list[tuple[str, list[float]]]:
  """Each stage's share of the steps, the FLOPs and the measured time."""
  amounts = [('steps', [stage.num_steps for stage in run.stages]),
             ('FLOPs', [stage.flops for stage in run.stages])]
  if all(stage.train_seconds for stage in run.stages):
    amounts.append(('time', [stage.train_seconds for stage in run.stages]))
  return [(name, [value / sum(values) for value in values])
          for name, values in amounts]


def _facts(value: Any, name: str = '') -> Iterator[tuple[str, str]]:
  """Leaves of nested JSON objects as (dotted name, text); lists are counted."""
  if isinstance(value, dict):
    for key, inner in value.items():
      yield from _facts(inner, f'{name}.{key}' if name else key)
  elif isinstance(value, list) and len(str(value)) > 100:
    yield name, f'{len(value)} of them'
  elif isinstance(value, (int, float)) and not isinstance(value, bool):
    yield name, f'{value:,}'
  else:
    yield name, str(value)


if __name__ == '__main__':
  # Here and not above: `train`, which imports this module, has the same flag.
  from absl import flags
  from official_ext.command import run_command
  model_dir_flag = flags.DEFINE_string(
      'model_dir', None, 'Run directory that `train` wrote to.', required=True)
  run_command(lambda: print(write_report(model_dir_flag.value)))
