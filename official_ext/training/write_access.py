"""Whether a directory can be written to, without making it."""

import os
import tempfile


def try_to_write(directory: str) -> None:
  """Writes a file without a name into a local directory, or its nearest parent.

  Asking for permissions does not tell: a file system can be read-only.

  Raises:
    OSError: it cannot be written to.
  """
  directory = os.path.abspath(directory)
  while not os.path.exists(directory):
    directory = os.path.dirname(directory)
  with tempfile.TemporaryFile(dir=directory):
    pass
