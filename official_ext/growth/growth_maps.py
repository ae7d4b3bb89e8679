"""A whole growth as maps: one layer map and the unit maps of every layer."""

import dataclasses

from official_ext.growth.architecture import Architecture
from official_ext.growth.named_weights import Axis
from official_ext.growth.named_weights import layer_of
from official_ext.growth.unit_maps import UnitMap


@dataclasses.dataclass(frozen=True)
class GrowthMaps:
  """Where every unit of a grown model comes from.

  Attributes:
    layers: for each target layer the source layer that it copies.
    residual: the map of the residual stream, shared by the whole network.
    heads: for each target layer the map of its attention heads.
    inner: for each target layer the map of its feed-forward units.
  """

  layers: tuple[int, ...]
  residual: UnitMap
  heads: tuple[UnitMap, ...]
  inner: tuple[UnitMap, ...]

  def __post_init__(self):
    for field in ('heads', 'inner'):
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
    """This growth, followed by another."""
    return GrowthMaps(
        layers=tuple(self.layers[layer] for layer in other.layers),
        residual=self.residual.then(other.residual),
        heads=tuple(self.heads[layer].then(heads)
                    for layer, heads in zip(other.layers, other.heads)),
        inner=tuple(self.inner[layer].then(inner)
                    for layer, inner in zip(other.layers, other.inner)))

  def unit_map(self, name: str, axis: Axis) -> UnitMap | None:
    """The map along one axis of a target weight; None if it never widens."""
    if axis.group == 'residual':
      return self.residual
    if axis.group == 'head':
      return self.heads[layer_of(name)]
    if axis.group == 'inner':
      return self.inner[layer_of(name)]
    return None
