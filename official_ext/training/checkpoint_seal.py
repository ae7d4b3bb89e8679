"""The seal of a checkpoint: what each of its files must be.

`ckpt-40.seal.json` is written when all of `ckpt-40` is on the disk; that makes
the checkpoint valid. It also holds what a run has to know of its past that is
no tensor.
"""

from collections.abc import Mapping
import errno
import json
import os
from typing import Any

import tensorflow as tf

from official_ext.data.stored_file import file_sha256
from official_ext.data.stored_file import StoreAwayError
from official_ext.training import durable_files

SUFFIX = '.seal.json'
_FILES, _PROGRESS = 'files', 'progress'


def write_seal(prefix: str, progress: Mapping[str, Any]) -> None:
  """Seals a checkpoint whose files are written.

  Args:
    prefix: path of the checkpoint without `.index`.
    progress: JSON values to keep with it.
  """
  files = sorted(tf.io.gfile.glob([prefix + '.index', prefix + '.data-*']))
  for path in files:
    durable_files.sync(path)
  seal = {
      _FILES: {
          os.path.basename(path): {
              'bytes': tf.io.gfile.stat(path).length,
              'sha256': file_sha256(path)} for path in files},
      _PROGRESS: dict(progress)}
  durable_files.write_whole(prefix + SUFFIX, json.dumps(seal, indent=2) + '\n')


def read_progress(prefix: str) -> dict[str, Any]:
  """What was kept with a sound checkpoint; empty if it is not sealed."""
  if not tf.io.gfile.exists(prefix + SUFFIX):
    return {}
  return _read(prefix)[_PROGRESS]


def find_broken_seal(prefix: str) -> str | None:
  """Reads a sealed checkpoint; says in a few words what differs, if anything.

  Raises:
    StoreAwayError: it cannot be read now, which says nothing of the checkpoint.
  """
  try:
    files = _read(prefix)[_FILES].items()
    for name, expected in files:
      path = os.path.join(os.path.dirname(prefix), name)
      if not tf.io.gfile.exists(path):
        return f'{name} is missing'
      length = tf.io.gfile.stat(path).length
      if length != expected['bytes']:
        return f'{name} has {length} bytes instead of {expected["bytes"]}'
      if file_sha256(path) != expected['sha256']:
        return f'{name} does not have the checksum that it was written with'
  except (ValueError, KeyError, TypeError, AttributeError):
    return f'{os.path.basename(prefix)}{SUFFIX} cannot be read'
  except (OSError, tf.errors.OpError) as error:
    if _is_damage(error):
      return durable_files.reason(error)
    raise StoreAwayError(
        f'{prefix} cannot be read now ({durable_files.reason(error)}); nothing '
        'was changed, give the same command again') from error
  return None


def _is_damage(error: Exception) -> bool:
  """Whether what cannot be read now will never be: lost, or a bad block."""
  return isinstance(
      error, (tf.errors.NotFoundError, tf.errors.DataLossError,
              tf.errors.OutOfRangeError, FileNotFoundError)
  ) or getattr(error, 'errno', None) == errno.EIO


def _read(prefix: str) -> dict[str, Any]:
  with tf.io.gfile.GFile(prefix + SUFFIX, 'rb') as file:
    return json.loads(file.read())
