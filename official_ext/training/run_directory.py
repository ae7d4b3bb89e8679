"""The files of one run, and what may not change between its sessions."""

from collections.abc import Mapping
import json
import os
from typing import Any

import tensorflow as tf

from official_ext.data.stored_file import read_bytes
from official_ext.mistakes import one_line
from official_ext.training import durable_files

CONFIG_FILE = 'config.gin'
SCHEDULE_FILE = 'schedule.json'
METRICS_FILE = 'metrics.jsonl'
GROWTH_FILE = 'growth.jsonl'
PROFILE_FILE = 'profile.jsonl'
VOCABULARY_FILE = 'vocab.txt'
DATA_MANIFEST_FILE = 'data_manifest.json'
CHECKPOINTS_DIR = 'checkpoints'
PROFILE_DIR = 'profile'


class RunDirectory:
  """Reads and writes the files of a run; paths may be remote.

  Attributes:
    path: the model directory.
    is_chief: whether this process writes; the others do nothing silently.
  """

  def __init__(self, path: str, *, is_chief: bool = True):
    self.path = path
    self.is_chief = is_chief

  def file(self, name: str) -> str:
    return os.path.join(self.path, name)

  def start(self, *, config_text: str, schedule: Mapping[str, Any],
            vocabulary_file: str, data_manifest_file: str) -> None:
    """Writes what the run is, before its first step, or checks that it is that.

    Args:
      config_text: the resolved gin configuration.
      schedule: everything that a resumed run may not change, see
        `run_description.describe_run`.
      vocabulary_file: the data set's vocabulary, copied for serving.
      data_manifest_file: the data set's manifest, copied for serving.

    Raises:
      ValueError: the directory holds a run that differs in `schedule`; every
        difference is listed. Or files of these names that no run has written.
    """
    if tf.io.gfile.exists(self.file(SCHEDULE_FILE)):
      self._check_same(schedule)
      self._keep_config(config_text)
      return
    if not self.is_chief:
      return
    copies = {vocabulary_file: self.file(VOCABULARY_FILE),
              data_manifest_file: self.file(DATA_MANIFEST_FILE)}
    for source, target in copies.items():
      if tf.io.gfile.exists(target) and read_bytes(target) != read_bytes(source):
        raise ValueError(
            f'{target} is of no run that began here, and is not overwritten; move '
            'it away, or take another model_dir.')
    with self._naming_what_failed(''):
      tf.io.gfile.makedirs(self.path)
      durable_files.write_beside(self.file(CONFIG_FILE), config_text)
      for source, target in copies.items():
        durable_files.copy_whole(source, target)
      # Last: its presence says that the directory belongs to a run.
      durable_files.write_whole(
          self.file(SCHEDULE_FILE), json.dumps(schedule, indent=2) + '\n')

  def append(self, name: str, record: Mapping[str, Any]) -> None:
    """Adds one line to a JSON-lines file.

    A process that dies here leaves a part of a line, which the next session
    takes away, see `forget_after`.

    Raises:
      OSError: it cannot be written, for instance because the disk is full.
    """
    if self.is_chief:
      with self._naming_what_failed(name):
        durable_files.append_line(self.file(name), json.dumps(record))

  def records(self, name: str) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file; a torn line is left out."""
    if not tf.io.gfile.exists(self.file(name)):
      return []
    records = []
    with tf.io.gfile.GFile(self.file(name), 'rb') as file:
      for line in file.read().splitlines():
        try:
          records.append(json.loads(line))
        except ValueError:
          # Cut short by a kill, or damaged; the others are still good.
          continue
    return records

  def check_begins_anew(self) -> None:
    """Checks that a run without a checkpoint has not been trained either.

    Raises:
      ValueError: there are metrics of steps that were done.
    """
    steps = [record['step'] for record in self.records(METRICS_FILE)]
    if any(steps):
      raise ValueError(
          f'{self.file(METRICS_FILE)} tells of {max(steps)} steps, but '
          f'{self.file(CHECKPOINTS_DIR)} has no checkpoint; put the checkpoints '
          'back, or start in a new model_dir.')

  def forget_after(self, step: int) -> None:
    """Drops records of steps that are about to be done again."""
    if not self.is_chief:
      return
    for name in (METRICS_FILE, GROWTH_FILE, PROFILE_FILE):
      if tf.io.gfile.exists(self.file(name)):
        kept = [r for r in self.records(name) if r['step'] <= step]
        with self._naming_what_failed(name):
          durable_files.write_whole(
              self.file(name), ''.join(json.dumps(r) + '\n' for r in kept))

  def _check_same(self, schedule: Mapping[str, Any]) -> None:
    with tf.io.gfile.GFile(self.file(SCHEDULE_FILE), 'rb') as file:
      content = file.read()
    try:
      earlier = json.loads(content)
    except ValueError as error:
      raise ValueError(
          f'{self.file(SCHEDULE_FILE)} is damaged ({one_line(error)}); put it '
          'back from a backup, or take another model_dir.') from error
    # What JSON does to tuples must not count as a difference.
    now = json.loads(json.dumps(schedule))
    differences = list(_differences(earlier, now))
    if differences:
      raise ValueError(
          f'{self.path} holds a run that differs: {"; ".join(differences)}. '
          'Take another model_dir, or the configuration in '
          f'{self.file(CONFIG_FILE)}.')

  def _keep_config(self, config_text: str) -> None:
    """Keeps every configuration that a run was continued with."""
    if not self.is_chief:
      return
    with self._naming_what_failed(CONFIG_FILE):
      durable_files.write_beside(self.file(CONFIG_FILE), config_text)

  def _naming_what_failed(self, name: str):
    return durable_files.naming_what_failed(
        self.file(name), 'the checkpoints are still good. Make room, or mend '
        'what is wrong, and give the same command again.')


def _differences(earlier: Any, now: Any, where: str = ''):
  """Yields `where: was …, is …` for every leaf that differs."""
  if isinstance(earlier, dict) and isinstance(now, dict):
    for key in sorted(earlier.keys() | now.keys()):
      yield from _differences(
          earlier.get(key), now.get(key), f'{where}.{key}' if where else key)
  elif (isinstance(earlier, list) and isinstance(now, list)
        and len(earlier) == len(now)):
    for index, pair in enumerate(zip(earlier, now)):
      yield from _differences(*pair, f'{where}[{index}]')
  elif earlier != now:
    yield f'{where} was {_short(earlier)}, is {_short(now)}'


def _short(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 60 else text[:57] + '...'
