"""`report.html`: one self-contained page about one run.

  python -m official_ext.analysis.report --model_dir=runs/quickstart/model

`train` writes it at its end; this makes it anew, also while a run goes on.
"""

import base64
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
  import tensorflow as tf
  from official_ext.analysis import run_figures
  from official_ext.analysis import run_summary
  run = run_summary.read_run(model_dir)
  pictures = run_figures.draw(run)
  page = _render(run, pictures)
  for name, content in [*pictures.items(), (REPORT_FILE, page.encode())]:
    path = os.path.join(model_dir, name)
    # A reader never sees half a page.
    with tf.io.gfile.GFile(path + '.partial', 'wb') as file:
      file.write(content)
    tf.io.gfile.rename(path + '.partial', path, overwrite=True)
  return os.path.join(model_dir, REPORT_FILE)


def _render(run, pictures: dict[str, bytes]) -> str:
  import jinja2
  from official_ext.analysis import quantities
  environment = jinja2.Environment(
      loader=jinja2.PackageLoader('official_ext.analysis', '.'),
      autoescape=True, undefined=jinja2.StrictUndefined,
      trim_blocks=True, lstrip_blocks=True)
  for function in (quantities.duration, quantities.percent, quantities.speedup,
                   quantities.three_digits, quantities.tiny,
                   quantities.with_prefix):
    environment.filters[function.__name__] = function
  environment.filters['thousands'] = '{:,}'.format
  return environment.get_template(_TEMPLATE).render(
      run=run,
      name=posixpath.basename(run.path.rstrip('/')) or run.path,
      ribbons=_ribbons(run),
      data_facts=list(_facts(run.manifest)),
      pictures={
          name.removesuffix('.png'):
              'data:image/png;base64,' + base64.b64encode(content).decode()
          for name, content in pictures.items()})


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
