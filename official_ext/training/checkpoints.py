"""Saving a run and taking it up again, past damaged files."""

from collections.abc import Callable, Mapping
import os
import re
import tempfile
from typing import Any

import tensorflow as tf
import tf_keras

from official_ext.data.stored_file import is_away
from official_ext.mistakes import one_line
from official_ext.training import checkpoint_seal
from official_ext.training import durable_files

# Names within the checkpoint, beside Model Garden's own `model`, `encoder`,
# `masked_lm`, `optimizer` and `next_sentence.pooler_dense`.
STEP_KEY = 'global_step'
STAGE_KEY = 'stage_index'
_VALUE_SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'
# Where damaged checkpoints are put, within the directory; and the newest one
# whose saving was cut short, which happens too often to keep them all.
DAMAGED_DIR = 'damaged'
UNFINISHED_DIR = 'unfinished'
_NOT_SEALED = 'it has no seal: it was not saved to the end'
# TensorFlow's own list, for `tf.train.latest_checkpoint` and stock tools.
_LIST_FILE = 'checkpoint'
_OWN_FILE = re.compile(
    r'ckpt-(\d+)(\.index|\.data-\d{5}-of-\d{5}|' +
    re.escape(checkpoint_seal.SUFFIX) + ')')
# What TensorFlow, and `durable_files`, write before they rename it.
_UNFINISHED_FILE = re.compile(
    r'ckpt-(\d+)(_temp.*|\..*\.tempstate\d+|.*' +
    re.escape(durable_files.PARTIAL_SUFFIX) + ')')


class RunCheckpoints:
  """The checkpoints of one run directory.

  A checkpoint is laid out as Model Garden's own trainer does it, so that its
  fine-tuning tasks load it strictly; in addition it holds the step, the stage
  and the state of every random generator. The data position is the step.

  Files are written in the order in which a process that dies at any moment
  leaves a valid checkpoint: the new one, its seal, the list, and only then
  older ones are deleted. `tf.train.CheckpointManager` would delete before the
  seal, and forgets to delete at all once the wall clock has been set back.

  Args:
    directory: where the checkpoints are.
    max_to_keep: older ones are deleted. With fewer than two there is nothing to
      fall back to.
    is_chief: whether this process writes; the others only take part in reading
      the distributed values.
  """

  def __init__(self, directory: str, *, max_to_keep: int = 3,
               is_chief: bool = True):
    self._directory = directory
    self._max_to_keep = max_to_keep
    self._is_chief = is_chief

  def save(self, model: tf_keras.Model, *, step: int, stage_index: int,
           progress: Callable[[], Mapping[str, Any]] = dict) -> str:
    """Writes `ckpt-<step>`; returns its path.

    Args:
      model: the model, its optimizer included.
      step: steps done.
      stage_index: the stage that the next step belongs to.
      progress: gives, when the files are written, what to keep in the seal.

    Raises:
      OSError: it cannot be written, for instance because the disk is full. What
        was written of it is removed.
    """
    checkpoint = _checkpoint(model, step, stage_index)
    # Made at the first touch; `restore` of a stock checkpoint looks for it.
    checkpoint.save_counter.assign(step)
    if not self._is_chief:
      with tempfile.TemporaryDirectory() as elsewhere:
        checkpoint.write(os.path.join(elsewhere, 'not_chief'))
      # The chief's, which is the one that stays.
      return self._path(step)
    path = self._path(step)
    earlier = [each for each in self._steps() if each != step]
    outcome = 'what there was of it is removed'
    if earlier:
      outcome += f', and {self._path(max(earlier))} is still good'
    with durable_files.naming_what_failed(
        path, f'{outcome}. Make room, or mend what is wrong, and give the same '
        'command again.'):
      try:
        tf.io.gfile.makedirs(self._directory)
        self._delete(step)
        checkpoint.write(path)
        checkpoint_seal.write_seal(path, progress())
        kept = sorted([*earlier, step])[-self._max_to_keep:]
        self._list(kept)
      except Exception:
        self._delete(step)
        raise
    for old in set(earlier) - set(kept):
      self._delete(old)
    return path

  def newest_valid(self, warn: Callable[[str], None]) -> str | None:
    """Path of the newest checkpoint whose every byte passes its checksum.

    Reads only; `recover` also tidies up.

    Args:
      warn: called with one line for each newer, damaged checkpoint.

    Raises:
      ValueError: there are checkpoints, but none is sound.
    """
    newest, damages = self._examine()
    for step, damage in damages.items():
      warn(f'checkpoint {self._path(step)} is damaged ({damage}); falling back '
           'to the one before it.')
    return newest

  def recover(self, warn: Callable[[str], None]) -> str | None:
    """As `newest_valid`, for the run itself, which is about to go on.

    Damaged checkpoints are put into `damaged/`, one without a seal into
    `unfinished/`; other files that a save left when it was cut short are
    deleted.
    """
    if not self._is_chief:
      return self.newest_valid(warn)
    newest, damages = self._examine()
    for step, damage in damages.items():
      place = self._set_aside(step, damage)
      warn(f'checkpoint {self._path(step)} is damaged ({damage}); it is now in '
           f'{place}, falling back to the one before it.')
    self._delete_leftovers()
    if damages:
      self._list(sorted(self._steps()))
    return newest

  def restore(self, path: str, model: tf_keras.Model) -> None:
    """Restores into a model that has been built for the checkpoint's stage.

    The model's optimizer must have its slots already, so that everything is
    matched here and nothing is left for later.
    """
    checkpoint = _checkpoint(model, 0, 0)
    checkpoint.restore(path).assert_existing_objects_matched()

  def _examine(self) -> tuple[str | None, dict[int, str]]:
    """The newest sound checkpoint, and what is wrong with newer ones."""
    names = self._names()
    sealed = [step for step in self._steps()
              if f'ckpt-{step}{checkpoint_seal.SUFFIX}' in names]
    damages = {}
    # By the steps in their names: a list can be lost, and file times follow a
    # clock that can be set back.
    for step in self._steps():
      if step in sealed:
        damage = checkpoint_seal.find_broken_seal(self._path(step))
      elif sealed and step > min(sealed):
        damage = _NOT_SEALED
      else:
        # Of a run that was begun before there were seals.
        damage = find_damage(self._path(step))
      if damage is None:
        return self._path(step), damages
      damages[step] = damage
    if damages:
      each = '; '.join(f'ckpt-{step}: {why}' for step, why in damages.items())
      raise ValueError(
          f'none of the {len(damages)} checkpoints in {self._directory} can be '
          f'read; restore one from a backup or start in a new model_dir ({each}).')
    return None, {}

  def _path(self, step: int) -> str:
    return os.path.join(self._directory, f'ckpt-{step}')

  def _names(self) -> list[str]:
    if not tf.io.gfile.isdir(self._directory):
      return []
    return [name.rstrip('/') for name in tf.io.gfile.listdir(self._directory)]

  def _steps(self) -> list[int]:
    """Steps of the checkpoints that are there, greatest first.

    TensorFlow writes the index when all else of a checkpoint is there.
    """
    found = (_OWN_FILE.fullmatch(name) for name in self._names())
    return sorted((int(match[1]) for match in found
                   if match and match[2] == '.index'), reverse=True)

  def _list(self, steps: list[int]) -> None:
    """Writes TensorFlow's list of checkpoints, from the oldest to the newest."""
    names = [f'ckpt-{step}' for step in steps]
    lines = [f'model_checkpoint_path: "{names[-1]}"'] + [
        f'all_model_checkpoint_paths: "{name}"' for name in names]
    durable_files.write_whole(
        os.path.join(self._directory, _LIST_FILE), '\n'.join(lines) + '\n')

  def _set_aside(self, step: int, damage: str) -> str:
    place = os.path.join(self._directory, DAMAGED_DIR, f'ckpt-{step}')
    number = 1
    if damage == _NOT_SEALED:
      place = os.path.join(self._directory, UNFINISHED_DIR)
      if tf.io.gfile.exists(place):
        tf.io.gfile.rmtree(place)
    while tf.io.gfile.exists(place):
      number += 1
      place = os.path.join(self._directory, DAMAGED_DIR, f'ckpt-{step}-{number}')
    tf.io.gfile.makedirs(place)
    # The index last: who is interrupted here finds the rest damaged again.
    for name in sorted(self._names_of(step), key=_is_index):
      tf.io.gfile.rename(os.path.join(self._directory, name),
                         os.path.join(place, name))
    return place

  def _delete(self, step: int) -> None:
    # The index first: without it there is no checkpoint.
    for name in sorted(self._names_of(step), key=_is_index, reverse=True):
      self._delete_name(name)

  def _delete_leftovers(self) -> None:
    steps = self._steps()
    for name in self._names():
      own = _OWN_FILE.fullmatch(name)
      if (_UNFINISHED_FILE.fullmatch(name)
          or own and int(own[1]) not in steps):
        self._delete_name(name)

  def _names_of(self, step: int) -> list[str]:
    matches = ((name, _OWN_FILE.fullmatch(name)
                or _UNFINISHED_FILE.fullmatch(name)) for name in self._names())
    return [name for name, match in matches if match and int(match[1]) == step]

  def _delete_name(self, name: str) -> None:
    path = os.path.join(self._directory, name)
    if tf.io.gfile.isdir(path):
      tf.io.gfile.rmtree(path)
    else:
      tf.io.gfile.remove(path)


def read_position(path: str) -> tuple[int, int]:
  """The step and the stage index that a checkpoint was saved at."""
  reader = tf.train.load_checkpoint(path)
  return (int(reader.get_tensor(STEP_KEY + _VALUE_SUFFIX)),
          int(reader.get_tensor(STAGE_KEY + _VALUE_SUFFIX)))


def find_damage(path: str) -> str | None:
  """Reads a whole checkpoint; says in a few words what is wrong, if anything.

  Raises:
    tf.errors.OpError: the store is away, which says nothing of the checkpoint.
  """
  try:
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
      reader.get_tensor(name)
  except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
    if is_away(error):
      raise
    return one_line(error)
  return None


def _is_index(name: str) -> bool:
  return name.endswith('.index')


def _checkpoint(model: tf_keras.Model, step: int, stage_index: int
                ) -> tf.train.Checkpoint:
  return tf.train.Checkpoint(
      model=model, optimizer=model.optimizer,
      **{STEP_KEY: tf.Variable(step, dtype=tf.int64),
         STAGE_KEY: tf.Variable(stage_index, dtype=tf.int64)},
      **model.checkpoint_items)
