"""Reads gin files and settings into bindings, with every mistake in their text.

Nothing is bound, imported or called while it reads. A file may come from anywhere: what it includes has to
lie beside the files that the user named, and its size is bounded.
"""

from collections.abc import Callable, Sequence
import dataclasses
import importlib.resources
import os
from typing import Any

from gin import config_parser

from official_ext.gin_statements import parse_statements
from official_ext.gin_statements import printable
from official_ext.mistakes import did_you_mean
from official_ext.mistakes import one_line

CONFIG_PACKAGE = 'gin_configs'

# Experiments are a few hundred lines and a handful of includes.
MAX_FILE_CHARACTERS = 1 << 17
MAX_FILES = 100

@dataclasses.dataclass(frozen=True)
class Binding:
  """One setting: `scope/selector.parameter = value`, or a macro's definition.

  Attributes:
    scope: scopes joined by '/', often empty.
    selector: name of the configurable, or of the macro.
    parameter: empty for the definition of a macro.
    value: a literal, a Reference, a Macro, or containers of them.
    place: where it stands, for messages: `file.gin:3` or the flag.
  """
  scope: str
  selector: str
  parameter: str
  value: Any
  place: str


@dataclasses.dataclass
class Source:
  """All that files and settings say, in order; a later binding wins.

  Attributes:
    bindings: in the order in which they stand, includes in their place.
    imports: (module, place).
    mistakes: one line each.
    unreadable: names such as `train.seed` whose value could not be parsed.
    is_complete: False if a file could not be read, so that what seems to be
      missing may stand there.
    num_files: files that were opened, each as often as it was included.
  """
  bindings: list[Binding] = dataclasses.field(default_factory=list)
  imports: list[tuple[str, str]] = dataclasses.field(default_factory=list)
  mistakes: list[str] = dataclasses.field(default_factory=list)
  unreadable: set[str] = dataclasses.field(default_factory=set)
  is_complete: bool = True
  num_files: int = 0


def read_source(
    gin_files: Sequence[str],
    gin_params: Sequence[str],
    read_text: Callable[[str], str] | None = None,
) -> Source:
  """Reads files, then single settings.

  Args:
    gin_files: paths, looked for as given and then among the packaged ones.
    gin_params: statements such as `train.num_steps = 10`.
    read_text: how to read a file; a seam for tests.

  Returns:
    The source; what could not be read is in its `mistakes`.
  """
  source = Source()
  reader = _Reader(source, gin_files, read_text or _read_text)
  for path in gin_files:
    reader.read_file(path, f'--gin_file {path}')
  for text in gin_params:
    reader.add(text, lambda line, shown=printable(text.strip()): (
        f'--gin_params "{shown}"'))
  return source


def packaged_files() -> list[str]:
  """The gin files that come with the package, such as `models/bert_base.gin`."""
  root = _package_dir()
  return sorted(
      os.path.relpath(os.path.join(folder, name), root).replace(os.sep, '/')
      for folder, _, names in os.walk(root) for name in names
      if name.endswith('.gin'))


def find_file(path: str) -> str | None:
  """Where a gin file is: as given, or among the packaged ones; None if nowhere.

  A file in the working directory wins, so that a user can put an own
  `models/bert_base.gin` in place of ours.
  """
  if '://' in path or os.path.isfile(path):
    return path
  packaged = os.path.join(_package_dir(), path)
  return packaged if os.path.isfile(packaged) else None


def _package_dir() -> str:
  return str(importlib.resources.files(CONFIG_PACKAGE))


def _read_text(path: str) -> str:
  if '://' in path:
    # Only for files in a bucket: TensorFlow takes seconds to import.
    import tensorflow as tf
    try:
      # Counted in bytes, of which UTF-8 takes four a character at most.
      with tf.io.gfile.GFile(path, 'rb') as file:
        content = file.read(4 * MAX_FILE_CHARACTERS + 1)
    except tf.errors.OpError as error:
      raise OSError(error.message) from error
    return content.decode(
        errors='strict' if len(content) <= 4 * MAX_FILE_CHARACTERS else 'ignore')
  with open(path, encoding='utf-8') as file:
    return file.read(MAX_FILE_CHARACTERS + 1)


class _Reader:
  """Adds files and statements to a source, and follows their includes.

  Args:
    source: what everything is added to.
    gin_files: the files that the user named.
    read_text: how to read a file.
  """

  def __init__(self, source: Source, gin_files: Sequence[str],
               read_text: Callable[[str], str]):
    self._source = source
    self._read_text = read_text
    # Of several files of one folder, an include may lie beside any.
    self._folders = list(dict.fromkeys(
        [os.getcwd(), _package_dir(), *map(_folder, gin_files)]))

  def read_file(self, path: str, place: str, including: tuple[str, ...] = ()
                ) -> None:
    """Adds a file; `including` are the files on the way to it."""
    source = self._source
    found = find_file(path)
    if found is None:
      source.is_complete = False
      what = 'is a directory' if os.path.isdir(path) else 'there is no such file'
      source.mistakes.append(
          f'{place}: {what}, neither in {os.getcwd()} nor among the packaged '
          'ones' + did_you_mean(
              path.removeprefix(f'{CONFIG_PACKAGE}/'), packaged_files()))
      return
    if found in including:
      source.mistakes.append(
          f'{place}: {path} includes itself; drop one of the includes')
      return
    source.num_files += 1
    try:
      text = self._read_text(found)
    except (OSError, UnicodeDecodeError) as error:
      source.mistakes.append(f'{place}: cannot read {path}: {one_line(error)}')
      source.is_complete = False
      return
    self.add(text, lambda line: f'{path}:{line}', (*including, found))

  def add(self, text: str, place_of: Callable[[int], str],
          including: tuple[str, ...] = ()) -> None:
    """Adds the statements of a text, `place_of(line number)` naming each."""
    source = self._source
    if len(text) > MAX_FILE_CHARACTERS:
      source.is_complete = False
      source.mistakes.append(
          f'{place_of(1)}: longer than {MAX_FILE_CHARACTERS} characters, the most '
          'that a configuration has; give a gin file')
      return
    statements, mistakes, unreadable = parse_statements(text, place_of)
    source.mistakes += mistakes
    source.unreadable |= unreadable
    for statement in statements:
      place = place_of(statement.location.line_num)
      if isinstance(statement, config_parser.BindingStatement):
        source.bindings.append(Binding(
            statement.scope, statement.selector, statement.arg_name,
            statement.value, place))
      elif isinstance(statement, config_parser.ImportStatement):
        source.imports.append((statement.module, place))
      elif isinstance(statement, config_parser.IncludeStatement):
        refusal = self._refusal(statement.filename, including)
        if refusal:
          source.is_complete = False
          source.mistakes.append(f'{place}: {refusal}')
        else:
          self.read_file(statement.filename, place, including)

  def _refusal(self, path: str, including: tuple[str, ...]) -> str | None:
    """Why a file is not included; what the user wrote as a flag may be."""
    if self._source.num_files >= MAX_FILES:
      return (f'include {path!r} is one of more than {MAX_FILES} files; drop '
              'includes')
    if not including:
      return None
    if not path.endswith('.gin'):
      return f'include {path!r} is no gin file; only *.gin can be included'
    where = _folder(find_file(path) or path)
    if any(_is_within(where, folder) for folder in self._folders):
      return None
    return (f'include {path!r} is outside of the folders of the files that you '
            'named; if you trust it, name it yourself with --gin_file')


def _folder(path: str) -> str:
  """The folder that a file is in, links resolved; a URL for a remote one."""
  found = find_file(path) or path
  if '://' in found:
    return os.path.normpath(os.path.dirname(found))
  return os.path.dirname(os.path.realpath(found))


def _is_within(path: str, folder: str) -> bool:
  folder = folder if ':/' in folder else os.path.realpath(folder)
  return path == folder or path.startswith(folder.rstrip('/') + '/')
