"""The files of one sweep, and what may not change between its sessions."""

from collections.abc import Mapping
import math
import os
from typing import Any

import tensorflow as tf

from official_ext.downstream.finetuned_model import TASK_FILE
from official_ext.downstream.json_files import read_json
from official_ext.downstream.json_files import write_json

FACTS_FILE = 'finetune.json'
RESULTS_FILE = 'results.json'
FINETUNED_DIR = 'finetuned'
PREDICTIONS_DIR = 'predictions'
_TRIALS_DIR, _CHECKPOINTS_DIR = 'trials', 'checkpoints'
_RESULT_FILE = 'result.json'
_NEW_SUFFIX = '.new'

# What a trial came to; with `score` and `metrics`, or with `diverged`.
Result = Mapping[str, Any]


class SweepDirectory:
  """Reads and writes `output_dir` of one task; paths may be remote.

  A trial's result appears whole or not at all, after its model. `finetuned`
  holds the model of the best result whenever a process could be killed, or
  `finetuned.new` does and `start` puts it there.
  """

  def __init__(self, path: str):
    self.path = path

  def file(self, *names: str) -> str:
    return os.path.join(self.path, *names)

  def difference(self, facts: Mapping[str, Any]) -> str | None:
    """In what the results that are there are of other facts; None if in nothing.

    Args:
      facts: all that decides a trial's result beside its batch size, learning
        rate and seed: JSON values, by name.
    """
    earlier = read_json(self.file(FACTS_FILE))
    if earlier is None:
      return None
    differences = [
        f'{name} was {_short(earlier.get(name))}, is {_short(facts.get(name))}'
        for name in sorted(earlier.keys() | facts.keys())
        if earlier.get(name) != facts.get(name)]
    if not differences:
      return None
    return (f'output_dir {self.path} holds results of another configuration '
            f'({"; ".join(differences)}); take another --output_dir')

  def start(self, facts: Mapping[str, Any]) -> None:
    """Writes what the sweep is, or checks that it is that, and tidies up.

    Args:
      facts: see `difference`.

    Raises:
      ValueError: the directory holds results of other facts.
    """
    difference = self.difference(facts)
    if difference:
      raise ValueError(difference + '.')
    if not tf.io.gfile.exists(self.file(FACTS_FILE)):
      tf.io.gfile.makedirs(self.path)
      write_json(self.file(FACTS_FILE), facts)
    self._finish_replacement()

  def results(self) -> dict[str, Result]:
    """Trial's name to result, of all trials that are done."""
    folder = self.file(_TRIALS_DIR)
    if not tf.io.gfile.isdir(folder):
      return {}
    found = {name.strip('/'): read_json(
        os.path.join(folder, name, _RESULT_FILE))
             for name in sorted(tf.io.gfile.listdir(folder))}
    return {name: result for name, result in found.items()
            if result is not None}

  def best(self) -> str | None:
    """Name of the trial with the greatest score; None if there is none."""
    scores = {name: result['score'] for name, result in self.results().items()
              if math.isfinite(result.get('score', math.nan))}
    return max(scores, key=scores.get) if scores else None

  def checkpoints(self, trial: str) -> str:
    """Where a trial's own checkpoints are while it is trained."""
    return self.file(_TRIALS_DIR, trial, _CHECKPOINTS_DIR)

  @property
  def new_model(self) -> str:
    """Where a model is written that may become the best one."""
    return self.file(FINETUNED_DIR + _NEW_SUFFIX)

  def finish_trial(self, trial: str, result: Result) -> None:
    """Records a result, keeps `new_model` if it is the best, clears the rest."""
    tf.io.gfile.makedirs(self.file(_TRIALS_DIR, trial))
    write_json(self.file(_TRIALS_DIR, trial, _RESULT_FILE), result)
    self._finish_replacement()
    if tf.io.gfile.exists(self.checkpoints(trial)):
      tf.io.gfile.rmtree(self.checkpoints(trial))

  def _finish_replacement(self) -> None:
    if not tf.io.gfile.exists(self.new_model):
      return
    task_file = os.path.join(self.new_model, TASK_FILE)
    task = read_json(task_file)
    if task is not None:
      if task['trial'] == self.best():
        _replace(self.new_model, self.file(FINETUNED_DIR))
      # First, lest what is left of it be taken for a whole one.
      tf.io.gfile.remove(task_file)
    tf.io.gfile.rmtree(self.new_model)


def _replace(source: str, target: str) -> None:
  """Makes `target` hold the files of `source`; may be interrupted and repeated.

  By copies: on an object store renaming moves one file after the other.
  """
  tf.io.gfile.makedirs(target)
  names = tf.io.gfile.listdir(source)
  for name in names:
    tf.io.gfile.copy(os.path.join(source, name), os.path.join(target, name),
                     overwrite=True)
  for name in set(tf.io.gfile.listdir(target)) - set(names):
    tf.io.gfile.remove(os.path.join(target, name))


def _short(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + '...'
