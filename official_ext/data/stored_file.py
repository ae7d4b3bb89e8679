"""Files by their stored bytes: local ones, and those of `tf.io.gfile`.

TensorFlow takes seconds to import, so only remote paths bring it in.
"""

import contextlib
import errno
import hashlib
import os
from typing import BinaryIO


# Of a network file system.
_AWAY_ERRNOS = {
    errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETUNREACH, errno.ECONNRESET, errno.ECONNREFUSED}
# Of TensorFlow: DEADLINE_EXCEEDED, ABORTED and UNAVAILABLE.
_AWAY_CODES = {4, 10, 14}


class StoreAwayError(OSError):
  """A store does not answer; later it may, and nobody has to mend anything.

  Attributes:
    exit_code: of a command that ends with it: of a failure, not of a mistake.
  """

  exit_code = 1


def is_away(error: Exception) -> bool:
  """Whether an error, of Python or of TensorFlow, says that a store is away."""
  return (isinstance(error, StoreAwayError)
          or getattr(error, 'errno', None) in _AWAY_ERRNOS
          or getattr(error, 'error_code', None) in _AWAY_CODES)


def has_no_locks(error: OSError) -> bool:
  """Whether a lock was refused by a file system that has none."""
  return error.errno in {
      errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


def is_remote(path: str) -> bool:
  """Whether only `tf.io.gfile` can open `path` (`gs://` and the like)."""
  return '://' in path


def file_exists(path: str) -> bool:
  """Whether there is a file of this name."""
  if is_remote(path):
    import tensorflow as tf
    return tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path)
  return os.path.isfile(path)


def file_size(path: str) -> int:
  """Bytes of a file as stored."""
  if is_remote(path):
    import tensorflow as tf
    return tf.io.gfile.stat(path).length
  return os.path.getsize(path)


class HashingStream:
  """A binary stream that hashes and counts what is read from it.

  Args:
    stream: where the bytes come from.
    remote_errors: errors that mean what OSError means elsewhere.
  """

  def __init__(self, stream: BinaryIO, remote_errors: tuple = ()):
    self._stream = stream
    self._remote_errors = remote_errors
    self._hash = hashlib.sha256()
    self.bytes_read = 0

  def read(self, num_bytes: int = -1) -> bytes:
    try:
      data = self._stream.read(num_bytes)
    except self._remote_errors as error:
      raise (StoreAwayError if is_away(error) else OSError)(
          f'{self._stream.name}: cannot be read ({error.message})') from error
    self._hash.update(data)
    self.bytes_read += len(data)
    return data

  def sha256(self) -> str:
    return self._hash.hexdigest()

  def close(self) -> None:
    self._stream.close()


def open_stream(path: str) -> HashingStream:
  """Opens a file, local or remote, for its stored bytes."""
  if is_remote(path):
    import tensorflow as tf
    return HashingStream(tf.io.gfile.GFile(path, 'rb'), (tf.errors.OpError,))
  return HashingStream(open(path, 'rb'))


def read_bytes(path: str) -> bytes:
  """The stored bytes of a small file."""
  with contextlib.closing(open_stream(path)) as stream:
    return stream.read()


def file_sha256(path: str) -> str:
  """Hash of a file's stored bytes."""
  with contextlib.closing(open_stream(path)) as stream:
    while stream.read(1 << 20):
      pass
    return stream.sha256()


def write_bytes(path: str, content: bytes) -> None:
  """Writes a file, or writes it anew."""
  if is_remote(path):
    import tensorflow as tf
    with tf.io.gfile.GFile(path, 'wb') as file:
      file.write(content)
  else:
    with open(path, 'wb') as file:
      file.write(content)


def move_file(source: str, destination: str) -> None:
  """Moves a file, over another one if need be; to remote places it copies."""
  if not is_remote(destination):
    os.replace(source, destination)
    return
  import tensorflow as tf
  if is_remote(source):
    tf.io.gfile.rename(source, destination, overwrite=True)
  else:
    tf.io.gfile.copy(source, destination, overwrite=True)
