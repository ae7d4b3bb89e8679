"""Mistakes of one file, of which only the first few are told one by one."""

_TOLD = 5


class FileMistakes:
  """Collects them.

  Args:
    path: of the file.

  Attributes:
    count: of all mistakes.
  """

  def __init__(self, path: str):
    self._path = path
    self._told: list[str] = []
    self.count = 0

  def add(self, place: int | str, message: str) -> None:
    """Notes one: the number of a line, or a place in words; what is wrong."""
    self.count += 1
    if len(self._told) < _TOLD:
      separator = ':' if isinstance(place, int) else ': ' if place else ''
      self._told.append(f'{self._path}{separator}{place}: {message}')

  def lines(self) -> list[str]:
    """One a mistake, and one for those that are not told."""
    more = self.count - len(self._told)
    rest = [f'{self._path}: {more} more mistakes like these'] if more else []
    return self._told + rest
