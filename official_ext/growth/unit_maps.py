"""Which old unit each new unit copies, and which share of the sum it carries."""

import dataclasses
import functools

import numpy as np

_SHARE_TOLERANCE = 1e-12


@dataclasses.dataclass(frozen=True)
class UnitMap:
  """A widening of one unit group: `g(new) = old`.

  Attributes:
    sources: for each new unit the old unit that it copies. Numbers from the old
      size on are fresh units, which are initialised like those of a new model.
    shares: for each new unit its part of the old unit's contribution to every
      sum over the group. The shares of the copies of one unit add up to 1;
      None means equal shares, `1 / c(old)` with `c` the number of copies.
    layers: for each new unit the source layer whose unit it copies; None means
      that all come from the layer that is copied as a whole.
    num_fresh: number of fresh units.
    old_size: number of old units; None means that `sources` tell.
  """

  sources: tuple[int, ...]
  shares: tuple[float, ...] | None = None
  layers: tuple[int, ...] | None = None
  num_fresh: int = 0
  old_size: int | None = None

  def __post_init__(self):
    if not self.sources:
      raise ValueError('UnitMap: sources is empty; name one old unit a new unit.')
    if self.old_size is None:
      object.__setattr__(
          self, 'old_size', max(self.sources) + 1 - self.num_fresh)
    num_known = self.old_size + self.num_fresh
    if (self.num_fresh < 0 or self.old_size < 1
        or max(self.sources) >= num_known):
      raise ValueError(
          f'UnitMap: old_size is {self.old_size} and num_fresh is '
          f'{self.num_fresh}, but the last source is {max(self.sources)}; keep '
          'an old unit, and name those that there are.')
    for field in ('shares', 'layers'):
      value = getattr(self, field)
      if value is not None and len(value) != len(self.sources):
        raise ValueError(
            f'UnitMap: {len(value)} {field} for {len(self.sources)} units; '
            'give one a unit.')
    counts = np.bincount(self.sources, minlength=num_known)
    if self.shares is None:
      shares = 1.0 / counts[np.asarray(self.sources)]
      object.__setattr__(self, 'shares', tuple(shares.tolist()))
    if self.layers is not None:
      return  # What one layer loses or splits, another may make up for.
    if not counts.all():
      raise ValueError(
          f'UnitMap: old unit {int(np.argmin(counts))} has no copy; every old '
          'unit needs one, or the function is lost.')
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
  def new_size(self) -> int:
    return len(self.sources)

  @property
  def is_identity(self) -> bool:
    return (self.sources == tuple(range(self.new_size))
            and self.layers is None and not self.num_fresh)

  @functools.cached_property
  def copies(self) -> list[np.ndarray]:
    """The new units that copy the same old one, for each number of copies.

    Units of different layers are not the same.

    Returns:
      for each number of copies above 1, ascending: [old unit, copy].
    """
    origins = np.asarray(self.sources)
    if self.layers is not None:
      origins = origins + (
          (self.old_size + self.num_fresh) * np.asarray(self.layers))
    order = np.argsort(origins, kind='stable')
    _, starts, counts = np.unique(
        origins[order], return_index=True, return_counts=True)
    return [order[starts[counts == count][:, np.newaxis] + np.arange(count)]
            for count in np.unique(counts) if count > 1]

  def then(self, other: 'UnitMap') -> 'UnitMap':
    """This map, followed by another of the same layer.

    Shares multiply. They are therefore not always one over the number of
    copies: a unit copied twice, of whose copies one is copied again, has shares
    1/4, 1/4 and 1/2. Fresh units of this map come before those of the other.
    """
    return follow({0: self}, {0: 0}, 0, other)


def follow(
    firsts: 'dict[int, UnitMap] | tuple[UnitMap, ...]',
    layers: 'dict[int, int] | tuple[int, ...]',
    layer: int,
    second: UnitMap,
) -> UnitMap:
  """The map of one layer, after the maps of all the layers that it may read.

  Args:
    firsts: for each middle layer the map that made its units.
    layers: for each middle layer the source layer that it copies.
    layer: the middle layer that the new layer copies.
    second: the new layer's map; its `layers` are middle layers.

  Raises:
    ValueError: if the sizes do not fit, or layers have other fresh units.
  """
  first = firsts[layer]
  for other in {layer, *(second.layers or ())}:
    sizes = [(m.new_size, m.old_size, m.num_fresh)
             for m in (first, firsts[other])]
    if sizes[0] != sizes[1]:
      raise ValueError(
          f'UnitMap.then: layers {layer} and {other} have (new, old, fresh) '
          f'units {sizes[0]} and {sizes[1]}; they have to agree.')
  if second.old_size != first.new_size:
    raise ValueError(
        f'UnitMap.then: the first map ends at {first.new_size} units, the '
        f'second starts from {second.old_size}; they have to agree.')
  if second.is_identity:
    return first
  if first.is_identity and second.layers is None:
    return second
  sources, shares, origins = [], [], []
  shift = first.old_size + first.num_fresh - first.new_size
  for unit, source in enumerate(second.sources):
    middle = layer if second.layers is None else second.layers[unit]
    share = second.shares[unit]
    if source >= second.old_size:
      sources.append(source + shift)
      shares.append(share)
      origins.append(layers[middle])
      continue
    made = firsts[middle]
    sources.append(made.sources[source])
    shares.append(made.shares[source] * share)
    origins.append(
        layers[middle] if made.layers is None else made.layers[source])
  is_own = second.layers is None and first.layers is None
  return UnitMap(
      tuple(sources), tuple(shares), None if is_own else tuple(origins),
      first.num_fresh + second.num_fresh, first.old_size)
