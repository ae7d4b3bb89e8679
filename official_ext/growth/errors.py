"""The one exception of this room."""

from collections.abc import Iterable


class GrowthError(ValueError):
  """A growth that cannot be done; its message lists every reason in one line."""

  @classmethod
  def of(cls, mistakes: Iterable[str]) -> 'GrowthError':
    """The error that lists these mistakes, each without a full stop."""
    return cls('Growth: ' + '; '.join(mistakes) + '.')
