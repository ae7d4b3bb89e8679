"""Reads gin files and settings into bindings, with every mistake in their text.

gin's own parser stops at the first error and acts while it reads. Here it only
parses: nothing is bound, imported or called, and it starts again at the next
statement after an error.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import importlib.resources
import os
import re
import tokenize
from typing import Any

from gin import config_parser

from official_ext.mistakes import did_you_mean
from official_ext.mistakes import one_line

CONFIG_PACKAGE = 'gin_configs'

# What no statement begins with, at the start of a line inside brackets.
_CONTINUATION = tuple(' \t)]}#\'"@%,-0123456789')


@dataclasses.dataclass(frozen=True)
class Reference:
  """`@scope/name()`; without its parentheses if `evaluate` is false."""
  name: str
  evaluate: bool

  def __str__(self):
    return f'@{self.name}{"()" if self.evaluate else ""}'


@dataclasses.dataclass(frozen=True)
class Macro:
  """`%NAME`."""
  name: str

  def __str__(self):
    return f'%{self.name}'


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
  """
  bindings: list[Binding] = dataclasses.field(default_factory=list)
  imports: list[tuple[str, str]] = dataclasses.field(default_factory=list)
  mistakes: list[str] = dataclasses.field(default_factory=list)
  unreadable: set[str] = dataclasses.field(default_factory=set)
  is_complete: bool = True


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
  for path in gin_files:
    _read_file(path, f'--gin_file {path}', source, (), read_text or _read_text)
  for text in gin_params:
    _add(text, lambda line, text=text: f'--gin_params "{text.strip()}"',
         source, (), read_text or _read_text)
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


def references(value: Any) -> Iterator[Reference | Macro]:
  """The references and macros anywhere in a value."""
  if isinstance(value, (Reference, Macro)):
    yield value
  elif isinstance(value, dict):
    for key, item in value.items():
      yield from references(key)
      yield from references(item)
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from references(item)


class _Recorder(config_parser.ParserDelegate):
  """Keeps references as data instead of looking them up while parsing."""

  def configurable_reference(self, scoped_configurable_name, evaluate):
    return Reference(scoped_configurable_name, evaluate)

  def macro(self, macro_name):
    return Macro(macro_name)


def _package_dir() -> str:
  return str(importlib.resources.files(CONFIG_PACKAGE))


def _read_text(path: str) -> str:
  if '://' in path:
    # Only for files in a bucket: TensorFlow takes seconds to import.
    import tensorflow as tf
    try:
      with tf.io.gfile.GFile(path) as file:
        return file.read()
    except tf.errors.OpError as error:
      raise OSError(error.message) from error
  with open(path, encoding='utf-8') as file:
    return file.read()


def _read_file(path, place, source, including, read_text) -> None:
  found = find_file(path)
  if found is None:
    source.is_complete = False
    what = 'is a directory' if os.path.isdir(path) else 'there is no such file'
    source.mistakes.append(
        f'{place}: {what}, neither in {os.getcwd()} nor among the packaged ones'
        + did_you_mean(path.removeprefix(f'{CONFIG_PACKAGE}/'), packaged_files()))
    return
  if found in including:
    source.mistakes.append(
        f'{place}: {path} includes itself; drop one of the includes')
    return
  try:
    text = read_text(found)
  except (OSError, UnicodeDecodeError) as error:
    source.mistakes.append(f'{place}: cannot read {path}: {error}')
    source.is_complete = False
    return
  _add(text, lambda line: f'{path}:{line}', source, (*including, found),
       read_text)


def _add(text, place_of, source, including, read_text) -> None:
  """Adds the statements of a text, `place_of(line number)` naming each."""
  try:
    statements = _parse(text)
  except (SyntaxError, tokenize.TokenError) as first_error:
    statements = []
    known_mistakes = len(source.mistakes)
    for start, piece in _pieces(text):
      try:
        statements += _parse('\n' * (start - 1) + piece)
      except SyntaxError as error:
        line = max(start, error.lineno or start)
        _add_unreadable(piece, error.msg, place_of(line), source)
      except tokenize.TokenError as error:
        _add_unreadable(piece, error.args[0], place_of(start), source)
    if len(source.mistakes) == known_mistakes:
      source.mistakes.append(
          f'{place_of(1)}: cannot be parsed as a whole: {first_error.args[0]}')
  for statement in statements:
    place = place_of(statement.location.line_num)
    if isinstance(statement, config_parser.BindingStatement):
      source.bindings.append(Binding(
          statement.scope, statement.selector, statement.arg_name,
          statement.value, place))
    elif isinstance(statement, config_parser.ImportStatement):
      source.imports.append((statement.module, place))
    elif isinstance(statement, config_parser.IncludeStatement):
      _read_file(statement.filename, place, source, including, read_text)


def _parse(text: str) -> list[Any]:
  return list(config_parser.ConfigParser(text, _Recorder()))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
  """Splits at the lines that begin a statement: (line number, piece)."""
  lines = text.splitlines()
  starts = [
      index for index, line in enumerate(lines)
      if line and not line.startswith(_CONTINUATION)]
  said = [index for index, line in enumerate(lines)
          if line.strip() and not line.strip().startswith('#')]
  if said and said[0] not in starts:
    # Nothing that it could continue.
    starts.insert(0, said[0])
  for start, end in zip(starts, starts[1:] + [len(lines)]):
    # Comments between two statements belong to neither.
    yield start + 1, '\n'.join(lines[start:end]) + '\n'


def _add_unreadable(piece, message, place, source) -> None:
  statement = piece.strip().splitlines()[0].strip()
  source.unreadable.add(statement.partition('=')[0].strip())
  shown = '' if statement in place else f'{statement}: '
  source.mistakes.append(f'{place}: {shown}{_explain(message, statement)}')


def _explain(message: str, statement: str) -> str:
  """What is wrong with a statement, and how to write it."""
  if statement[0] in ('"', "'"):
    return 'a text, not a setting; drop the outer quotes'
  name, _, value = (part.strip() for part in statement.partition('='))
  value = value.split('#')[0].strip()
  # What divides starts with a number or, a knob, with a capital.
  if re.match(r'\w+://|[/~.][\w/~.]', value) or re.fullmatch(
      r'[a-z][\w.-]*(/[\w.-]*)+', value):
    return f"put quotes around the path: {name} = '{value}'"
  if value.lower() in ('true', 'false', 'none', 'null'):
    right = 'None' if value.lower() == 'null' else value.capitalize()
    return f'write {name} = {right}'
  if re.fullmatch(r'[A-Za-z_]\w*', value):
    return (f"{value} is not a value; put quotes around a text: '{value}', or % "
            f'before a macro: %{value}')
  if re.match(r'[\w.%]+\s*[-+*/]', value):
    return 'gin has no arithmetic; write the result'
  # Python 3.11 and 3.12 tokenize an open quote differently.
  is_open_quote = value[:1] in ('"', "'") and value.count(value[0]) % 2
  if is_open_quote or 'EOF in multi-line' in message:
    return 'a bracket or a quote is never closed'
  if '=' not in statement and not statement.endswith(':'):
    return 'not a setting; write name.parameter = value'
  return one_line(message)
