"""gin text into statements, with every mistake in it.

gin's own parser stops at the first error and acts while it reads. Here it only
parses: nothing is bound, imported or called, and it starts again at the next
statement after an error.
"""

from collections.abc import Callable, Iterator
import dataclasses
import re
import tokenize
from typing import Any

from gin import config_parser

from official_ext.mistakes import one_line

# Whatever goes through a value calls itself for every bracket.
MAX_BRACKETS = 50
# Of a statement, and of what is wrong with it.
_SHOWN_CHARACTERS = 200

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


def parse_statements(text: str, place_of: Callable[[int], str]
                     ) -> tuple[list[Any], list[str], set[str]]:
  """What a text says, up to what of it cannot be parsed.

  Args:
    text: gin.
    place_of: from the number of a line, counted from 1, to its name in messages.

  Returns:
    gin's statements, with a Reference or a Macro where a value has one; a line
    for each that cannot be parsed; and the names that those are about, such as
    `train.seed`.
  """
  try:
    return _parse(text), [], set()
  except (SyntaxError, tokenize.TokenError) as error:
    first_error = error
  statements, mistakes, unreadable = [], [], set()
  for start, piece in _pieces(text):
    try:
      statements += [_moved(statement, start - 1) for statement in _parse(piece)]
      continue
    except SyntaxError as error:
      line, message = start - 1 + (error.lineno or 1), error.msg
    except tokenize.TokenError as error:
      line, message = start, error.args[0]
    # Some control characters are white space to Python, and not to gin.
    statement = piece.strip().partition('\n')[0].strip() or piece
    unreadable.add(statement.partition('=')[0].strip())
    place, shown = place_of(line), printable(statement)
    shown = '' if shown in place else f'{shown}: '
    mistakes.append(
        f'{place}: {shown}{printable(_explain(message, statement))}')
  if not mistakes:
    mistakes.append(
        f'{place_of(1)}: cannot be parsed as a whole: '
        f'{one_line(first_error.args[0])}')
  return statements, mistakes, unreadable


class _Recorder(config_parser.ParserDelegate):
  """Keeps references as data instead of looking them up while parsing."""

  def configurable_reference(self, scoped_configurable_name, evaluate):
    return Reference(scoped_configurable_name, evaluate)

  def macro(self, macro_name):
    return Macro(macro_name)


def _parse(text: str) -> list[Any]:
  """gin's statements.

  Raises:
    SyntaxError: the text is not gin.
    tokenize.TokenError: a bracket or a quote is never closed.
  """
  if '\0' in text:
    raise SyntaxError('a character with the code 0')
  too_deep = f'more than {MAX_BRACKETS} brackets within each other'
  try:
    statements = list(config_parser.ConfigParser(text, _Recorder()))
  except RecursionError as error:
    raise SyntaxError(too_deep) from error
  except TypeError as error:
    # Lists and dictionaries as keys of dictionaries.
    raise SyntaxError(str(error)) from error
  for statement in statements:
    if isinstance(statement, config_parser.BindingStatement) and (
        _is_deeper(statement.value, MAX_BRACKETS)):
      raise SyntaxError(too_deep)
  return statements


def _moved(statement: Any, num_lines: int) -> Any:
  location = statement.location
  return statement._replace(location=location._replace(
      line_num=location.line_num + num_lines))


def _is_deeper(value: Any, depth: int) -> bool:
  """Whether more than `depth` containers lie within each other."""
  if not isinstance(value, (dict, list, tuple)):
    return False
  items = value
  if isinstance(value, dict):
    items = [*value.keys(), *value.values()]
  return not depth or any(_is_deeper(item, depth - 1) for item in items)


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


def printable(text: str) -> str:
  """Text as one line, not too long, without what a terminal would obey."""
  line = one_line(text) if len(text.splitlines()) > 1 else text
  line = ''.join(c if c.isprintable() else repr(c)[1:-1] for c in line)
  return line if len(line) <= _SHOWN_CHARACTERS else (
      f'{line[:_SHOWN_CHARACTERS // 2]} … {line[-_SHOWN_CHARACTERS // 2:]}')


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
