"""Which old unit each new unit copies, and which share of the sum it carries."""

import dataclasses

import numpy as np

_SHARE_TOLERANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class UnitMap:
  """A widening of one unit group: `g(new) = old`.

  Attributes:
    sources: for each new unit the old unit that it copies.
    shares: for each new unit its part of the old unit's contribution to every
      sum over the group. The shares of the copies of one unit add up to 1;
      None means equal shares, `1 / c(old)` with `c` the number of copies.
  """

  sources: tuple[int, ...]
  shares: tuple[float, ...] | None = None

  def __post_init__(self):
    if not self.sources:
      raise ValueError('UnitMap: sources is empty; name one old unit a new unit.')
    counts = np.bincount(self.sources)
    if not counts.all():
      raise ValueError(
          f'UnitMap: old unit {int(np.argmin(counts))} has no copy; every old '
          'unit needs one, or the function is lost.')
    if self.shares is None:
      shares = 1.0 / counts[np.asarray(self.sources)]
      object.__setattr__(self, 'shares', tuple(shares.tolist()))
    elif len(self.shares) != len(self.sources):
      raise ValueError(
          f'UnitMap: {len(self.shares)} shares for {len(self.sources)} units; '
          'give one a unit.')
    else:
      totals = np.bincount(self.sources, weights=self.shares)
      if not np.allclose(totals, 1.0, rtol=0, atol=_SHARE_TOLERANCE):
        raise ValueError(
            f'UnitMap: the shares of a unit add up to {totals.tolist()}; '
            'each has to be 1.')

  @classmethod
  def identity(cls, size: int) -> 'UnitMap':
    return cls(tuple(range(size)))

  @classmethod
  def wrap(cls, size: int, new_size: int) -> 'UnitMap':
    """New unit j copies `j mod size`; whole tiles if `new_size` is a multiple."""
    return cls(tuple(unit % size for unit in range(new_size)))

  @property
  def old_size(self) -> int:
    return max(self.sources) + 1

  @property
  def new_size(self) -> int:
    return len(self.sources)

  @property
  def is_identity(self) -> bool:
    return self.sources == tuple(range(self.new_size))

  def then(self, other: 'UnitMap') -> 'UnitMap':
    """This map, followed by another.

    Shares multiply. They are therefore not always one over the number of
    copies: a unit copied twice, of whose copies one is copied again, has shares
    1/4, 1/4 and 1/2.
    """
    if other.old_size != self.new_size:
      raise ValueError(
          f'UnitMap.then: the first map ends at {self.new_size} units, the '
          f'second starts from {other.old_size}; they have to agree.')
    return UnitMap(
        tuple(self.sources[unit] for unit in other.sources),
        tuple(self.shares[unit] * share
              for unit, share in zip(other.sources, other.shares)))
