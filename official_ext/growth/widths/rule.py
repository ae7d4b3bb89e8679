"""What a width rule is: where the units of a wider layer come from."""

from collections.abc import Callable
import dataclasses

from official_ext.growth.unit_maps import UnitMap


@dataclasses.dataclass(frozen=True)
class Widening:
  """One unit group of one layer that becomes wider.

  Attributes:
    group: 'residual', 'head' or 'inner', as in `named_weights.Axis`.
    size: units that there are.
    new_size: units that there shall be, at least as many.
    layer: the source layer; 0 for the residual stream, which all layers share.
    num_layers: layers of the source.
    seed: seed of rules that draw at random.
  """

  group: str
  size: int
  new_size: int
  layer: int
  num_layers: int
  seed: int


@dataclasses.dataclass(frozen=True)
class WidthRule:
  """A row of the table of width rules.

  Whether a growth preserves the function is worked out from its maps
  (`preservation.py`), so that a row cannot claim too much.

  Attributes:
    unit_map: the map of one unit group of one layer.
    produced_map: the same for the units that a layer's kernels and biases
      produce, where it differs from what its kernels and LayerNorms read; None
      means that `unit_map` holds for both. It must have the sources of
      `unit_map`; only its layers may differ.
    summary: what the rule does, and its source, in one line.
    preserves: 'preserves the function, if ...' or the like, in one line.
  """

  unit_map: Callable[[Widening], UnitMap]
  summary: str
  preserves: str
  produced_map: Callable[[Widening], UnitMap] | None = None
