"""The one exception of this room."""

from collections.abc import Iterable


class GrowthError(ValueError):
  """A growth that cannot be done; its message lists every reason in one line."""

  @classmethod
  def of(cls, mistakes: Iterable[str]) -> 'GrowthError':
    return cls('Growth: ' + '; '.join(mistakes) + '.')
