"""Saving a run and taking it up again, past damaged files."""

from collections.abc import Callable
import os
import re
import tempfile

import tensorflow as tf
import tf_keras

from official_ext.mistakes import one_line

# Names within the checkpoint, beside Model Garden's own `model`, `encoder`,
# `masked_lm`, `optimizer` and `next_sentence.pooler_dense`.
STEP_KEY = 'global_step'
STAGE_KEY = 'stage_index'
_VALUE_SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'


class RunCheckpoints:
  """The checkpoints of one run directory.

  A checkpoint is laid out as Model Garden's own trainer does it, so that its
  fine-tuning tasks load it strictly; in addition it holds the step, the stage
  and the state of every random generator. The data position is the step.

  Args:
    directory: where the checkpoints are.
    max_to_keep: older ones are deleted.
    is_chief: whether this process writes; the others only take part in reading
      the distributed values.
  """

  def __init__(self, directory: str, *, max_to_keep: int = 3,
               is_chief: bool = True):
    self._directory = directory
    self._max_to_keep = max_to_keep
    self._is_chief = is_chief

  def save(self, model: tf_keras.Model, *, step: int, stage_index: int) -> str:
    """Writes `ckpt-<step>`; returns its path."""
    directory = self._directory
    if not self._is_chief:
      directory = os.path.join(tempfile.mkdtemp(), 'not_chief')
    elif not self._listed():
      # The manager refuses to start from a list that it cannot read.
      unreadable = os.path.join(directory, 'checkpoint')
      if tf.io.gfile.exists(unreadable):
        tf.io.gfile.remove(unreadable)
    manager = tf.train.CheckpointManager(
        _checkpoint(model, step, stage_index), directory,
        max_to_keep=self._max_to_keep)
    path = manager.save(checkpoint_number=step)
    if not self._is_chief:
      tf.io.gfile.rmtree(os.path.dirname(directory))
    return path

  def newest_valid(self, warn: Callable[[str], None]) -> str | None:
    """Path of the newest checkpoint whose every byte passes its checksum.

    Args:
      warn: called with one line for each newer, damaged checkpoint.
    """
    paths = self._listed()
    if not paths:
      # A power failure or a copy of some of the files can cost the list.
      paths = self._found()
      if not paths:
        return None
      warn(f'{self._directory} has checkpoints but no readable list of them '
           '(file `checkpoint`); going by their names.')
    for path in paths:
      damage = find_damage(path)
      if damage is None:
        return path
      warn(f'checkpoint {path} is damaged ({damage}); falling back to the one '
           'before it.')
    raise ValueError(
        f'none of the {len(paths)} checkpoints in {self._directory} can be '
        'read; restore one from a backup or start in a new model_dir.')

  def _listed(self) -> list[str]:
    """Paths by TensorFlow's own list, newest first; none if it is unreadable."""
    try:
      state = tf.train.get_checkpoint_state(self._directory)
    except ValueError:
      return []
    return list(reversed(state.all_model_checkpoint_paths)) if state else []

  def _found(self) -> list[str]:
    """Paths of the checkpoints whose files are there, greatest step first."""
    if not tf.io.gfile.isdir(self._directory):
      return []
    found = (re.fullmatch(r'ckpt-(\d+)\.index', name)
             for name in tf.io.gfile.listdir(self._directory))
    steps = sorted((int(match[1]) for match in found if match), reverse=True)
    return [os.path.join(self._directory, f'ckpt-{step}') for step in steps]

  def restore(self, path: str, model: tf_keras.Model) -> None:
    """Restores into a model that has been built for the checkpoint's stage.

    The model's optimizer must have its slots already, so that everything is
    matched here and nothing is left for later.
    """
    checkpoint = _checkpoint(model, 0, 0)
    checkpoint.restore(path).assert_existing_objects_matched()


def read_position(path: str) -> tuple[int, int]:
  """The step and the stage index that a checkpoint was saved at."""
  reader = tf.train.load_checkpoint(path)
  return (int(reader.get_tensor(STEP_KEY + _VALUE_SUFFIX)),
          int(reader.get_tensor(STAGE_KEY + _VALUE_SUFFIX)))


def find_damage(path: str) -> str | None:
  """Reads a whole checkpoint; says in a few words what is wrong, if anything."""
  try:
    reader = tf.train.load_checkpoint(path)
    for name in reader.get_variable_to_shape_map():
      reader.get_tensor(name)
  except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
    return one_line(error)
  return None


def _checkpoint(model: tf_keras.Model, step: int, stage_index: int
                ) -> tf.train.Checkpoint:
  return tf.train.Checkpoint(
      model=model, optimizer=model.optimizer,
      **{STEP_KEY: tf.Variable(step, dtype=tf.int64),
         STAGE_KEY: tf.Variable(stage_index, dtype=tf.int64)},
      **model.checkpoint_items)
