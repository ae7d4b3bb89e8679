"""What was compiled once, by content."""

import functools
import gzip
import hashlib
import importlib.metadata
import json
import os
import pathlib
from typing import Any

import official_ext

_TRACED_BY = ('tensorflow', 'tf-keras', 'tf-models-official')
# What of this package decides the program, or reads the compiler's answer.
_SOURCES = ('growth', 'modeling', 'training/stage_optimizer.py',
            'analysis/preflight')
_SHORT = 32


def default_directory() -> pathlib.Path:
  """The user's cache directory: $XDG_CACHE_HOME or ~/.cache."""
  base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(base).expanduser() / 'official_ext' / 'preflight'


def digest(*parts: Any) -> str:
  """A name for what these JSON values say."""
  text = json.dumps(parts, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:_SHORT]


@functools.cache
def tracing_versions() -> dict[str, str]:
  """What turns a configuration into a program: packages, and our own sources."""
  found = {name: importlib.metadata.version(name) for name in _TRACED_BY}
  root = pathlib.Path(official_ext.__file__).parent
  hasher = hashlib.sha256()
  for source in _SOURCES:
    path = root / source
    for file in sorted(path.rglob('*.py')) if path.is_dir() else [path]:
      hasher.update(file.relative_to(root).as_posix().encode())
      hasher.update(file.read_bytes())
  return found | {'official_ext': hasher.hexdigest()[:_SHORT]}


class EstimateCache:
  """Texts and JSON values in a directory, each under its kind and name.

  Files are written beside their place and then moved there, so that two
  processes may share a directory. A file that cannot be read counts as missing.

  Args:
    directory: made when something is first kept.
  """

  def __init__(self, directory: str | os.PathLike[str] | None = None):
    self._directory = pathlib.Path(directory or default_directory())

  def path(self, kind: str, name: str) -> pathlib.Path:
    """Where the text of this name is, or would be."""
    return self._directory / kind / f'{name}.gz'

  def read_text(self, kind: str, name: str) -> str | None:
    """What was kept; None if nothing was."""
    try:
      return gzip.decompress(self.path(kind, name).read_bytes()).decode()
    except (OSError, EOFError, ValueError):
      return None

  def write_text(self, kind: str, name: str, text: str) -> None:
    path = self.path(kind, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f'.{os.getpid()}.part')
    part.write_bytes(gzip.compress(text.encode(), mtime=0))
    part.replace(path)

  def read(self, kind: str, name: str) -> Any | None:
    """The JSON value that was kept; None if there is none."""
    text = self.read_text(kind, name)
    try:
      return None if text is None else json.loads(text)
    except ValueError:
      return None

  def write(self, kind: str, name: str, value: Any) -> None:
    self.write_text(kind, name, json.dumps(value))
