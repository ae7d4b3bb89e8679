"""A directory that appears whole, or not at all."""

from collections.abc import Iterator
import contextlib
import os
import shutil
import tempfile


@contextlib.contextmanager
def new_directory(path: str) -> Iterator[str]:
  """A directory to fill, which gets its name once the body has ended well.

  Args:
    path: what it will be called: nothing yet, or an empty directory.

  Yields:
    Where to write, beside `path`; removed if the body raises.

  Raises:
    ValueError: there is something already, or the path is remote, where a
      directory cannot be renamed at once.
  """
  check_new(path)
  parent = os.path.dirname(os.path.abspath(path))
  os.makedirs(parent, exist_ok=True)
  partial = tempfile.mkdtemp(
      prefix=f'.{os.path.basename(os.path.abspath(path))}.', dir=parent)
  try:
    yield partial
    # A temporary directory is its maker's only; this one is for others, too.
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(partial, 0o777 & ~umask)
    os.rename(partial, path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def check_new(path: str) -> None:
  """Raises ValueError if `new_directory` would."""
  if '://' in path:
    raise ValueError(
        f'output_dir {path} is remote; give a local directory, and copy it '
        'there when it is whole.')
  if os.path.exists(path) and (not os.path.isdir(path) or os.listdir(path)):
    raise ValueError(
        f'output_dir {path} is there already and is not empty; give a new '
        'directory.')
