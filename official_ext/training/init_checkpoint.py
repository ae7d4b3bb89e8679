"""The checkpoint that a run grows from instead of starting from fresh weights."""

import functools
import hashlib
import json

import tensorflow as tf
import tf_keras

from official_ext.data.manifest import Manifest
from official_ext.growth.architecture import Architecture
from official_ext.modeling import weights as weights_lib
from official_ext.modeling.checkpoint_source import find_checkpoint
from official_ext.modeling.checkpoint_weights import read_checkpoint
from official_ext.training import run_directory
from official_ext.training.run_directory import RunDirectory

SOURCE_KEY = 'source'


def source_architecture(
    init_checkpoint: str, model_dir: str | None) -> Architecture:
  """The architecture of the weights that a run starts from.

  Args:
    init_checkpoint: a path as `find_checkpoint` takes.
    model_dir: the run directory. A run that has begun says it itself: it goes
      on also where the checkpoint is gone.

  Raises:
    ValueError: there is no such checkpoint, or it cannot be read.
  """
  if has_begun(model_dir):
    path = RunDirectory(model_dir).file(run_directory.SCHEDULE_FILE)
    with tf.io.gfile.GFile(path) as file:
      fields = json.loads(file.read()).get(SOURCE_KEY)
    if fields is not None:
      try:
        return Architecture(**fields)
      except TypeError as error:
        raise ValueError(
            f'{path} was written by another version of this package ({error}); '
            'go on with that version, or take another model_dir.') from error
  found = find_checkpoint(init_checkpoint)
  return found.architecture or _inferred_architecture(found.prefix)


@functools.lru_cache(maxsize=4)
def _inferred_architecture(prefix: str) -> Architecture:
  """By the shapes of all weights, which are asked for several times a start."""
  return read_checkpoint(prefix)[1]


def has_begun(model_dir: str | None) -> bool:
  """Whether there is a run in the directory."""
  return model_dir is not None and tf.io.gfile.exists(
      RunDirectory(model_dir).file(run_directory.SCHEDULE_FILE))


def check_vocabulary(init_checkpoint: str, manifest: Manifest) -> None:
  """Checks that data and checkpoint mean the same by a token.

  A checkpoint without a `vocab.txt` beside it is taken at its word.

  Raises:
    ValueError: the vocabularies differ.
  """
  path = find_checkpoint(init_checkpoint).vocabulary_file
  if path is None:
    return
  with tf.io.gfile.GFile(path, 'rb') as file:
    actual = hashlib.sha256(file.read()).hexdigest()
  if actual != manifest.vocab_sha256:
    raise ValueError(
        f'init_checkpoint: {path} has the hash {actual}, but the vocabulary of '
        f'the data has {manifest.vocab_sha256}; prepare the data with '
        f'--vocab_file {path}.')


def write_source_weights(model: tf_keras.Model, init_checkpoint: str) -> None:
  """Gives a model of the source's architecture the checkpoint's weights.

  Heads that the checkpoint lacks keep their fresh weights; heads that the model
  lacks are left behind.
  """
  weights, _ = read_checkpoint(init_checkpoint)
  fresh = weights_lib.read_weights(model)
  weights_lib.write_weights(
      model, {name: weights.get(name, array) for name, array in fresh.items()})
