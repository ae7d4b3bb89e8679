"""Errors that list everything at once, and what the user may have meant."""

import difflib
from collections.abc import Iterable


class ConfigurationError(ValueError):
  """A configuration with mistakes: all of them, not only the first.

  Attributes:
    mistakes: one line each, naming what was given, what is expected and the
      mend.
  """

  def __init__(self, mistakes: Iterable[str]):
    self.mistakes = tuple(mistakes)
    if len(self.mistakes) == 1:
      message = self.mistakes[0]
    else:
      message = '\n  '.join([f'{len(self.mistakes)} mistakes:', *self.mistakes])
    super().__init__(message)

  def __reduce__(self):
    # The default would hand the joined message to __init__ when unpickled.
    return type(self), (self.mistakes,)


def raise_if_any(mistakes: Iterable[str]) -> None:
  """Raises ConfigurationError with the given mistakes, each once, if any."""
  mistakes = tuple(dict.fromkeys(mistakes))
  if mistakes:
    raise ConfigurationError(mistakes)


def one_line(error: object) -> str:
  """The message of an error, or any text, as a terminal shows it: one line.

  Line breaks become spaces; what a terminal would obey is escaped, because names
  of files and values of settings may come from anywhere.
  """
  line = ' '.join(str(error).split()) or type(error).__name__
  return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def did_you_mean(given: str, known: Iterable[str]) -> str:
  """Ends an error line: `; did you mean 'stack'?`, or what there is.

  Args:
    given: what the user wrote.
    known: what would have been understood.

  Returns:
    A clause that starts with `; `, naming the nearest known word, or all of
    them (at most 12) if none is near. Empty if nothing is known.
  """
  known = sorted(set(known))
  # Case is the commonest slip, so it does not count as distance.
  by_lower = {word.lower(): word for word in known}
  near = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.7)
  if near:
    return f'; did you mean {by_lower[near[0]]!r}?'
  if not known:
    return ''
  shown = ', '.join(known[:12])
  return f'; known: {shown}' + (', …' if len(known) > 12 else '')
