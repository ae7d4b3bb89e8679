"""Files that are whole or not there, also after a crash or a power failure."""

from collections.abc import Iterator
import contextlib
import os
import re

import tensorflow as tf

from official_ext.data.stored_file import is_away
from official_ext.data.stored_file import is_remote
from official_ext.data.stored_file import StoreAwayError
from official_ext.mistakes import one_line

PARTIAL_SUFFIX = '.partial'


@contextlib.contextmanager
def naming_what_failed(path: str, outcome: str) -> Iterator[None]:
  """Turns what TensorFlow says of a failed write into one line.

  Args:
    path: what is written.
    outcome: what is left, and the mend; the end of the line.

  Raises:
    StoreAwayError: the store is away.
    OSError: the block raised an OSError, or another error of TensorFlow's.
  """
  try:
    yield
  except (OSError, tf.errors.OpError) as error:
    raise (StoreAwayError if is_away(error) else OSError)(
        f'{path} could not be written ({reason(error)}); {outcome}') from error


def write_whole(path: str, content: str | bytes) -> None:
  """Writes a file under another name, and renames it once it is on the disk.

  What an object store holds appears whole by itself.

  Args:
    path: local or remote.
    content: bytes, or text that becomes UTF-8.
  """
  data = content.encode() if isinstance(content, str) else content
  if is_remote(path):
    with tf.io.gfile.GFile(path, 'wb') as file:
      file.write(data)
    return
  partial = path + PARTIAL_SUFFIX
  try:
    with open(partial, 'wb') as file:
      file.write(data)
      file.flush()
      os.fsync(file.fileno())
    os.replace(partial, path)
  except OSError:
    with contextlib.suppress(OSError):
      os.unlink(partial)
    raise
  sync(os.path.dirname(path) or '.')


def write_beside(path: str, content: str) -> None:
  """Writes a text file; if another one is there, beside it.

  `config.gin` stays, and `config_1.gin` or the next free number is written.
  Nothing is written if the newest of them has this content already.
  """
  stem, suffix = os.path.splitext(path)
  number, newest = 0, None
  while tf.io.gfile.exists(path):
    newest = path
    number += 1
    path = f'{stem}_{number}{suffix}'
  if newest is not None:
    with tf.io.gfile.GFile(newest, 'rb') as file:
      if file.read() == content.encode():
        return
  write_whole(path, content)


def append_line(path: str, line: str) -> None:
  """Adds a line to a text file, and waits until it is on the disk."""
  if is_remote(path):
    with tf.io.gfile.GFile(path, 'a') as file:
      file.write(line + '\n')
    return
  with open(path, 'a', encoding='utf-8') as file:
    file.write(line + '\n')
    file.flush()
    os.fsync(file.fileno())


def copy_whole(source: str, target: str) -> None:
  """Copies a small file by `write_whole`."""
  with tf.io.gfile.GFile(source, 'rb') as file:
    write_whole(target, file.read())


def sync(path: str) -> None:
  """Waits until a file, or the names in a directory, are on the disk."""
  if is_remote(path):
    return
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def reason(error: Exception) -> str:
  """What went wrong, without the path and TensorFlow's frame around it."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  message = re.sub(r'\{\{.*?\}\}|\[Op:\w+\]', '', one_line(error))
  return message.rsplit(';', 1)[-1].strip()
