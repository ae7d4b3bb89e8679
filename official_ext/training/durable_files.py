"""Files that are whole or not there, also after a crash or a power failure."""

from collections.abc import Iterator
import contextlib
import os
import re

import tensorflow as tf

from official_ext.data.stored_file import is_remote
from official_ext.mistakes import one_line

PARTIAL_SUFFIX = '.partial'

# What an object store says that is away for a while, or asked for too much.
_AWAY = (tf.errors.UnavailableError, tf.errors.DeadlineExceededError,
         tf.errors.AbortedError)


class StoreAwayError(OSError):
  """A store did not take a write; later it may, and nobody has to mend it.

  Attributes:
    exit_code: of a command that ends with it: of a failure, not of a mistake.
  """

  exit_code = 1


@contextlib.contextmanager
def naming_what_failed(path: str, outcome: str) -> Iterator[None]:
  """Turns what TensorFlow says of a failed write into one line.

  Args:
    path: what is written.
    outcome: what is left, and the mend; the end of the line.

  Raises:
    StoreAwayError: an object store is away.
    OSError: the block raised an OSError, or another error of TensorFlow's.
  """
  try:
    yield
  except (OSError, tf.errors.OpError) as error:
    raise (StoreAwayError if isinstance(error, _AWAY) else OSError)(
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
