"""A whole growth as maps: one layer map and the unit maps of every layer."""

from collections.abc import Mapping
import dataclasses

from official_ext.growth.architecture import Architecture
from official_ext.growth.named_weights import Axis
from official_ext.growth.named_weights import block_name
from official_ext.growth.named_weights import layer_of
from official_ext.growth.unit_maps import follow
from official_ext.growth.unit_maps import UnitMap

_GROUPS = ('residual', 'head', 'inner')


@dataclasses.dataclass(frozen=True)
class GrowthMaps:
  """Where every unit of a grown model comes from.

  Attributes:
    layers: for each target layer the source layer that it copies.
    residual: the map of the residual stream, shared by the whole network.
    heads: for each target layer the map of its attention heads.
    inner: for each target layer the map of its feed-forward units.
    substitutes: for each target layer what it reads elsewhere: name within the
      block -> another such name, or None for zeros. Empty means nothing in any
      layer.
    produced: for each target layer, group of units -> the map of the units that
      its kernels and biases produce, where it is not the map above. Empty means
      nowhere.
  """

  layers: tuple[int, ...]
  residual: UnitMap
  heads: tuple[UnitMap, ...]
  inner: tuple[UnitMap, ...]
  substitutes: tuple[Mapping[str, str | None], ...] = ()
  produced: tuple[Mapping[str, UnitMap], ...] = ()

  def __post_init__(self):
    for field in ('substitutes', 'produced'):
      if not getattr(self, field):
        object.__setattr__(self, field, ({},) * len(self.layers))
    for field in ('heads', 'inner', 'substitutes', 'produced'):
      if len(getattr(self, field)) != len(self.layers):
        raise ValueError(
            f'GrowthMaps: {len(getattr(self, field))} {field} maps for '
            f'{len(self.layers)} target layers; give one a layer.')

  @classmethod
  def identity(cls, architecture: Architecture) -> 'GrowthMaps':
    num_layers = architecture.num_layers
    return cls(
        layers=tuple(range(num_layers)),
        residual=UnitMap.identity(architecture.hidden_size),
        heads=(UnitMap.identity(architecture.num_heads),) * num_layers,
        inner=(UnitMap.identity(architecture.stored_inner_size),) * num_layers)

  def then(self, other: 'GrowthMaps') -> 'GrowthMaps':
    """This growth, followed by another.

    Raises:
      ValueError: if the sizes do not fit, or the other takes single units of
        layers in which this one substituted weights.
    """
    if any(self.substitutes) and other.mixes_layers:
      raise ValueError(
          'GrowthMaps.then: units of several layers are taken after weights of '
          'layers were substituted; widen first, then deepen.')
    return GrowthMaps(
        layers=tuple(self.layers[layer] for layer in other.layers),
        residual=self.residual.then(other.residual),
        heads=tuple(follow(self.heads, self.layers, layer, heads)
                    for layer, heads in zip(other.layers, other.heads)),
        inner=tuple(follow(self.inner, self.layers, layer, inner)
                    for layer, inner in zip(other.layers, other.inner)),
        substitutes=tuple(
            _substitute(self.substitutes[layer], later)
            for layer, later in zip(other.layers, other.substitutes)),
        produced=tuple(
            {group: follow(
                [self.produced_map(group, middle)
                 for middle in range(len(self.layers))],
                self.layers, layer, other.produced_map(group, index))
             for group in _GROUPS
             if group in self.produced[layer] or group in other.produced[index]}
            for index, layer in enumerate(other.layers)))

  @property
  def unit_maps(self) -> list[UnitMap]:
    """Every map of any group and layer."""
    return [self.residual, *self.heads, *self.inner,
            *(unit_map for maps in self.produced for unit_map in maps.values())]

  @property
  def mixes_layers(self) -> bool:
    """Whether any unit comes from another layer than the copied one."""
    return any(unit_map.layers is not None for unit_map in self.unit_maps)

  def unit_map(self, name: str, axis: Axis) -> UnitMap | None:
    """The map along one axis of a target weight; None if it never widens."""
    if axis.group not in _GROUPS:
      return None
    layer = layer_of(name)
    if layer is None:
      return self.residual
    # LayerNorms produce no units of their own: they follow what they read.
    if axis.role == 'out' and not name.endswith(('/gamma', '/beta')):
      return self.produced_map(axis.group, layer)
    return self._read_map(axis.group, layer)

  def produced_map(self, group: str, layer: int) -> UnitMap:
    """The map of the units that a target layer produces."""
    produced = self.produced[layer].get(group)
    return self._read_map(group, layer) if produced is None else produced

  def _read_map(self, group: str, layer: int) -> UnitMap:
    if group == 'residual':
      return self.residual
    return (self.heads if group == 'head' else self.inner)[layer]

  def source_name(self, name: str) -> str | None:
    """The source weight that a target weight is made of; None means zeros."""
    layer = layer_of(name)
    if layer is None:
      return name
    inside = name.split('/', 1)[1]
    inside = self.substitutes[layer].get(inside, inside)
    return None if inside is None else block_name(self.layers[layer], inside)


def _substitute(
    earlier: Mapping[str, str | None], later: Mapping[str, str | None]
) -> dict[str, str | None]:
  result = dict(earlier)
  for name, read in later.items():
    result[name] = None if read is None else earlier.get(read, read)
  return result
