"""Where a checkpoint is, and what the files around it say of it."""

import dataclasses
import json
import os
import re
from typing import Any

import tensorflow as tf

from official_ext.growth.architecture import Architecture
from official_ext.mistakes import one_line
from official_ext.modeling import checkpoint_objects

ARCHITECTURE_FILE = 'architecture.json'
VOCABULARY_FILE = 'vocab.txt'

# Of a run directory of `train`.
_SCHEDULE_FILE = 'schedule.json'
_CHECKPOINTS_DIR = 'checkpoints'
_DATA_MANIFEST_FILE = 'data_manifest.json'
_STAGE_KEY = 'stage_index/.ATTRIBUTES/VARIABLE_VALUE'


@dataclasses.dataclass(frozen=True)
class CheckpointSource:
  """A checkpoint, with what is known of it before it is read.

  Attributes:
    prefix: path of the checkpoint without `.index`.
    architecture: what is written down beside it; None if nothing is. Weighted
      LayerNorms that training has made ordinary count as such.
    untrained: parts that are in it only so that Model Garden's classes find
      every variable of theirs.
    vocabulary_file: path of its vocab.txt; None if there is none.
    lower_case: whether its tokenizer lower-cases; true if nothing says.
  """

  prefix: str
  architecture: Architecture | None = None
  untrained: tuple[str, ...] = ()
  vocabulary_file: str | None = None
  lower_case: bool = True


def find_checkpoint(path: str) -> CheckpointSource:
  """Finds a checkpoint by a path that a user would give.

  Args:
    path: a run directory of `train`, whose newest checkpoint is taken, with the
      architecture of the stage that it was saved in; a directory with
      checkpoints; or the prefix of one, such as `folder/ckpt-100`.

  Raises:
    ValueError: there is no checkpoint, what is beside it cannot be read, or
      its LayerNorms are between weighted and ordinary.
  """
  if tf.io.gfile.exists(path + '.index'):
    prefix, directory = path, os.path.dirname(path)
  else:
    directory = path
    is_run = tf.io.gfile.exists(os.path.join(path, _SCHEDULE_FILE))
    prefix = _newest(os.path.join(path, _CHECKPOINTS_DIR) if is_run else path)
    if prefix is None:
      raise ValueError(
          f'{path} has no checkpoint; give a run directory of `train`, a '
          'directory that `grow` or `convert` wrote, or the prefix of a '
          'checkpoint (folder/ckpt-100).')
  # A checkpoint in RUN/checkpoints belongs to the run.
  for run in (directory, os.path.join(directory, os.pardir)):
    if tf.io.gfile.exists(os.path.join(run, _SCHEDULE_FILE)):
      return _with_settled_norms(_in_run(prefix, run))
  return _with_settled_norms(_by_itself(prefix, directory))


def _newest(directory: str) -> str | None:
  """The newest checkpoint by TensorFlow's list, or by the numbers in the names."""
  listed = tf.train.latest_checkpoint(directory)
  if listed or not tf.io.gfile.isdir(directory):
    return listed
  found = (re.fullmatch(r'(.*?(\d*))\.index', name)
           for name in tf.io.gfile.listdir(directory))
  prefixes = [(int(match[2] or 0), match[1]) for match in found if match]
  return os.path.join(directory, max(prefixes)[1]) if prefixes else None


def _in_run(prefix: str, run: str) -> CheckpointSource:
  """A checkpoint of `train`, in the stage that it was saved in."""
  path = os.path.join(run, _SCHEDULE_FILE)
  try:
    stage = int(tf.train.load_checkpoint(prefix).get_tensor(_STAGE_KEY))
    fields = _read_json(path)['stages'][stage]['architecture']
  except (tf.errors.OpError, RuntimeError, KeyError, IndexError) as error:
    raise ValueError(
        f'{prefix} and {path} do not say which stage it is of '
        f'({one_line(error)}); give an undamaged checkpoint of that run.'
    ) from error
  manifest = os.path.join(run, _DATA_MANIFEST_FILE)
  tokenizer = {}
  if tf.io.gfile.exists(manifest):
    tokenizer = _read_json(manifest).get('tokenizer', {})
  return CheckpointSource(
      prefix, _architecture(fields, path),
      vocabulary_file=_vocabulary_file(run),
      lower_case=tokenizer.get('lower_case', True))


def _by_itself(prefix: str, directory: str) -> CheckpointSource:
  """A checkpoint of any other maker, or of `grow` or `convert`."""
  path = os.path.join(directory, ARCHITECTURE_FILE)
  vocabulary_file = _vocabulary_file(directory)
  if not tf.io.gfile.exists(path):
    return CheckpointSource(prefix, vocabulary_file=vocabulary_file)
  content = _read_json(path)
  return CheckpointSource(
      prefix, _architecture(content.get('architecture'), path),
      untrained=tuple(content.get('untrained', ())),
      vocabulary_file=vocabulary_file,
      lower_case=content.get('lower_case', True))


def _with_settled_norms(source: CheckpointSource) -> CheckpointSource:
  """Takes LayerNorms that have become ordinary for what they are."""
  architecture = source.architecture
  if architecture is not None and architecture.norm_source_size is None:
    return source
  try:
    share = checkpoint_objects.norm_share(
        tf.train.load_checkpoint(source.prefix))
  except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
    raise ValueError(
        f'{source.prefix} cannot be read: {one_line(error)}') from error
  if share is None or share == 1 and architecture is None:
    return source
  if architecture is None:
    raise ValueError(
        f'{source.prefix} has weighted LayerNorms, of which only '
        f'{_SCHEDULE_FILE} or {ARCHITECTURE_FILE} says the width; put it back.')
  if 0 < share < 1:
    raise ValueError(
        f'{source.prefix} is {share:.0%} on its way from weighted to ordinary '
        'LayerNorms; let `train` end that, and give a later checkpoint.')
  if share == 0:
    return source
  return dataclasses.replace(
      source, architecture=architecture.replace(norm_source_size=None))


def _architecture(fields: Any, path: str) -> Architecture:
  try:
    return Architecture(**fields)
  except (TypeError, ValueError) as error:
    raise ValueError(
        f'{path} describes no architecture: {one_line(error)}') from error


def _read_json(path: str) -> dict[str, Any]:
  with tf.io.gfile.GFile(path) as file:
    try:
      return json.loads(file.read())
    except ValueError as error:
      raise ValueError(f'{path} is not JSON: {error}.') from error


def _vocabulary_file(directory: str) -> str | None:
  path = os.path.join(directory, VOCABULARY_FILE)
  return path if tf.io.gfile.exists(path) else None
