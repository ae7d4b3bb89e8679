"""One stage of a run, relative to the model that the run ends with."""

import dataclasses
import math
from typing import Any

from official_ext.growth import Architecture
from official_ext.growth import DEPTH_RULES

# Decimal shares such as 1/3 of 12 layers have to come out whole.
_WHOLE_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage: how long it lasts and how cheap its model is.

  Attributes:
    name: the stage's name, unique in its schedule.
    fraction: share of the run's steps; give either this or `steps`.
    steps: number of steps.
    depth: share of the target's layers; give either this or `num_layers`.
      Neither means the whole depth.
    num_layers: number of layers.
    ffn_sharing: stored feed-forward units are the target's divided by this.
    query_pool_size: layer-0 queries are pooled over this many tokens.
    ffn_rank: rank of a factorised feed-forward block; None means none.
    depth_growth: rule by which layers are added when this stage *begins*, a
      name in `official_ext.growth.DEPTH_RULES`.

  Raises:
    ValueError: listing everything that is wrong with the stage by itself.
  """

  name: str
  fraction: float | None = None
  steps: int | None = None
  depth: float | None = None
  num_layers: int | None = None
  ffn_sharing: int = 1
  query_pool_size: int = 1
  ffn_rank: int | None = None
  depth_growth: str = 'append'

  def __post_init__(self):
    mistakes = self._mistakes()
    if mistakes:
      raise ValueError(f'Stage {self.name!r}: ' + '; '.join(mistakes) + '.')
    if self.depth is None and self.num_layers is None:
      object.__setattr__(self, 'depth', 1.0)

  def _mistakes(self) -> list[str]:
    mistakes = []
    if not isinstance(self.name, str) or not self.name:
      mistakes.append(f'name is {self.name!r}; give a text')
    if (self.fraction is None) == (self.steps is None):
      mistakes.append(
          f'fraction is {self.fraction!r} and steps is {self.steps!r}; give '
          'exactly one of them')
    if self.depth is not None and self.num_layers is not None:
      mistakes.append(
          f'depth is {self.depth!r} and num_layers is {self.num_layers!r}; give '
          'one of them at most')
    for field in ('fraction', 'depth'):
      value = getattr(self, field)
      if value is not None and not _is_share(value):
        mistakes.append(
            f'{field} is {value!r}; give a number above 0 and at most 1')
    optional = ('steps', 'num_layers', 'ffn_rank')
    for field in (*optional, 'ffn_sharing', 'query_pool_size'):
      value = getattr(self, field)
      if not (is_count(value) or value is None and field in optional):
        mistakes.append(f'{field} is {value!r}; give a whole number of at least 1')
    if self.depth_growth not in DEPTH_RULES:
      mistakes.append(
          f'depth_growth is {self.depth_growth!r}; choose one of '
          f'{sorted(DEPTH_RULES)}')
    return mistakes

  def architecture(self, target: Architecture) -> Architecture:
    """The stage's model on the way to an untreated target.

    Raises:
      ValueError: if layers do not come out whole, or a treatment does not fit.
    """
    num_layers = self.num_layers
    mistakes = []
    if num_layers is None:
      exact = self.depth * target.num_layers
      num_layers = round(exact)
      if num_layers < 1 or abs(exact - num_layers) > _WHOLE_TOLERANCE:
        mistakes.append(
            f'depth {self.depth:g} of {target.num_layers} layers is {exact:g} '
            'layers; choose a depth that gives a whole number, or give '
            'num_layers')
    if target.inner_size % self.ffn_sharing:
      mistakes.append(
          f'ffn_sharing {self.ffn_sharing} does not divide inner_size '
          f'{target.inner_size}; choose a divisor')
    if self.ffn_rank is not None and self.ffn_sharing > 1:
      mistakes.append(
          f'ffn_rank {self.ffn_rank} and ffn_sharing {self.ffn_sharing} exclude '
          'each other; drop one')
    if mistakes:
      raise ValueError('; '.join(mistakes))
    return target.untreated().replace(
        num_layers=num_layers, ffn_sharing=self.ffn_sharing,
        query_pool_size=self.query_pool_size, ffn_rank=self.ffn_rank)

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def _is_share(value: Any) -> bool:
  return (isinstance(value, (int, float)) and not isinstance(value, bool)
          and math.isfinite(value) and 0 < value <= 1)


def is_count(value: Any) -> bool:
  """Whether a value is a whole number of at least 1; True is none."""
  return isinstance(value, int) and not isinstance(value, bool) and value >= 1
