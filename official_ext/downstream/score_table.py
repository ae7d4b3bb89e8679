"""Results as papers print them: a row a model, a column a task."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from official_ext.downstream.glue_tasks import GLUE_TASKS
from official_ext.downstream.json_files import write_json
from official_ext.training.durable_files import write_whole

_SQUAD_TITLES = {'squad11': 'SQuAD 1.1 EM/F1', 'squad20': 'SQuAD 2.0 EM/F1'}
_SQUAD_METRICS = ('exact_match', 'f1')
# Of GLUE's tasks that have more than accuracy, as the paper's table does.
_TITLES = {'mnli': 'MNLI-m/mm'}

# Task to metric to value.
_Metrics = Mapping[str, Mapping[str, float]]


class ScoreTable:
  """The development-set results of models, and their average.

  The average is GLUE's score only if all of its tasks are there.

  Args:
    metrics: for each model, task to metrics as shares of one.

  Attributes:
    header: names of the columns.
    rows: as many cells a model; 100 times the metrics, of a task in the order
      in which it lists them.
  """

  def __init__(self, metrics: Mapping[str, _Metrics]):
    self._metrics = metrics
    tasks = list(dict.fromkeys(
        task for of_model in metrics.values() for task in of_model))
    num_glue_tasks = len(GLUE_TASKS.keys() & set(tasks))
    self._has_average = num_glue_tasks > 1
    self._is_all_of_glue = num_glue_tasks == len(GLUE_TASKS)
    average = 'GLUE' if self._is_all_of_glue else f'average of {num_glue_tasks}'
    self.header = ['', *map(_title, tasks)] + [average] * self._has_average
    self.rows = []
    for model, of_model in metrics.items():
      cells = [_cell(task, of_model[task]) for task in tasks]
      if self._has_average:
        cells.append(f'{100 * glue_average(of_model):.1f}')
      self.rows.append([model, *cells])

  def markdown(self) -> str:
    """The table in Markdown."""
    lines = [self.header, ['---'] * len(self.header), *self.rows]
    return ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)

  def json(self) -> dict[str, Any]:
    """Every metric, and their average, as shares of one."""
    name = 'glue' if self._is_all_of_glue else 'average'
    return {
        model: {**of_model, **(
            {name: glue_average(of_model)} if self._has_average else {})}
        for model, of_model in self._metrics.items()}

  def write(self, path: str) -> Iterator[str]:
    """Writes `path`.json and `path`.md; yields their names."""
    write_json(path + '.json', self.json())
    yield path + '.json'
    write_whole(path + '.md', self.markdown())
    yield path + '.md'


def glue_average(metrics: _Metrics) -> float:
  """GLUE's score: the mean over its tasks of the mean of a task's metrics.

  Args:
    metrics: of some or all of GLUE's tasks, and maybe others.
  """
  return float(np.mean([
      np.mean(list(values.values()))
      for task, values in metrics.items() if task in GLUE_TASKS]))


def print_table(table: ScoreTable) -> None:
  """Prints it on a terminal."""
  # Only a command needs it.
  from rich import console
  from rich.table import Table

  shown = Table()
  for number, name in enumerate(table.header):
    shown.add_column(name, justify='right' if number else 'left')
  for row in table.rows:
    shown.add_row(*row)
  console.Console().print(shown)


def _title(task: str) -> str:
  if task in GLUE_TASKS:
    return _TITLES.get(task, GLUE_TASKS[task].title)
  return _SQUAD_TITLES[task]


def _cell(task: str, metrics: Mapping[str, float]) -> str:
  names: Sequence[str] = (
      list(metrics) if task in GLUE_TASKS else _SQUAD_METRICS)
  return '/'.join(f'{100 * metrics[name]:.1f}' for name in names)
