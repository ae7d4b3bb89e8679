"""What a depth rule is: which source layer feeds each target layer."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import types


@dataclasses.dataclass(frozen=True)
class DepthRule:
  """A row of the table of depth rules.

  Attributes:
    layers: (num_layers, new_num_layers) -> for each target layer the source
      layer that it copies.
    summary: what the rule does, and its source, in one line.
    preserves: 'preserves the function, if ...' or the like, in one line.
    preserving_families: families of architectures whose function it preserves.
    substitutes: what a layer that repeats the one before it reads elsewhere:
      name within the block -> another such name, or None for zeros.
  """

  layers: Callable[[int, int], tuple[int, ...]]
  summary: str
  preserves: str = 'does not preserve the function'
  preserving_families: tuple[str, ...] = ()
  substitutes: Mapping[str, str | None] = dataclasses.field(
      default_factory=lambda: types.MappingProxyType({}))
