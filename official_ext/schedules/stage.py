"""One stage of a run, relative to the model that the run ends with."""

import dataclasses
import math
from typing import Any

from official_ext.growth import Architecture
from official_ext.growth import DEPTH_RULES
from official_ext.growth import WIDTH_RULES

# Decimal shares such as 1/3 of 12 layers have to come out whole.
_WHOLE_TOLERANCE = 1e-6
_SHARES = ('fraction', 'depth', 'width', 'length', 'trained_depth',
           'sub_model_depth')
_OPTIONAL_COUNTS = (
    'steps', 'num_layers', 'hidden_size', 'num_heads', 'inner_size',
    'sequence_length', 'ffn_rank', 'trained_layers', 'sub_model_layers')
# A share of the target and the absolute number that may stand in its place.
_ALTERNATIVES = (
    ('depth', 'num_layers'), ('width', 'hidden_size'), ('width', 'num_heads'),
    ('width', 'inner_size'), ('length', 'sequence_length'),
    ('ffn_rank_share', 'ffn_rank'), ('trained_depth', 'trained_layers'),
    ('sub_model_depth', 'sub_model_layers'))


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage: how long it lasts, how cheap its model is, what of it is trained.

  Attributes:
    name: the stage's name, unique in its schedule.
    fraction: share of the run's steps; give either this or `steps`.
    steps: number of steps.
    depth: share of the target's layers; give either this or `num_layers`.
      Neither means the whole depth.
    num_layers: number of layers.
    ffn_sharing: stored feed-forward units are the stage's divided by this.
    query_pool_size: layer-0 queries are pooled over this many tokens.
    ffn_rank: rank of a factorised feed-forward block; None means none.
    depth_growth: rule by which layers are added when this stage *begins*, a
      name in `official_ext.growth.DEPTH_RULES`.
    width: share of the target's residual stream, heads and feed-forward units
      alike, heads of the target's size; give this or the three that follow.
      Neither means the whole width.
    hidden_size: width of the residual stream.
    num_heads: attention heads.
    inner_size: feed-forward units.
    width_growth: rule by which units are added when this stage begins, a name
      in `official_ext.growth.WIDTH_RULES`.
    weighted_norm: the LayerNorms keep the statistics of the narrower model
      before, which makes the growth exact for any width, and turn into ordinary
      ones, linearly, until the stage ends.
    length: share of the target's sequence length (data truncation); give
      either this or `sequence_length`. Neither means the whole length.
    sequence_length: tokens a sequence.
    ffn_rank_share: rank as a share of the stage's hidden size, rounded; 0.2 in
      CompoundGrow (Table 1). Give this or `ffn_rank`.
    trained_depth: share of the target's layers, counted from the top, that are
      trained with the heads; all below is frozen (MSLT). Give this or
      `trained_layers`; neither trains everything.
    trained_layers: number of layers from the top that are trained.
    sub_model_depth: every step trains a sub-model of the bottom layers, of
      once, twice, … this share of the target's layers, drawn at random, and of
      it only the top share and the heads (bert2BERT, two-stage pre-training).
      Give this or `sub_model_layers`; neither trains the whole model.
    sub_model_layers: the same as a number of layers.

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
  width: float | None = None
  hidden_size: int | None = None
  num_heads: int | None = None
  inner_size: int | None = None
  width_growth: str = 'fpi'
  weighted_norm: bool = False
  length: float | None = None
  sequence_length: int | None = None
  ffn_rank_share: float | None = None
  trained_depth: float | None = None
  trained_layers: int | None = None
  sub_model_depth: float | None = None
  sub_model_layers: int | None = None

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
    for share, count in _ALTERNATIVES:
      if getattr(self, share) is not None and getattr(self, count) is not None:
        mistakes.append(
            f'{share} is {getattr(self, share)!r} and {count} is '
            f'{getattr(self, count)!r}; give one of them at most')
    partial = [name for name in ('trained_depth', 'trained_layers',
                                 'sub_model_depth', 'sub_model_layers')
               if getattr(self, name) is not None]
    if len({name.split('_')[0] for name in partial}) > 1:
      mistakes.append(
          f'{" and ".join(partial)} exclude each other: either a fixed upper '
          'part is trained or drawn sub-models are; drop one')
    for field in (*_SHARES, 'ffn_rank_share'):
      value = getattr(self, field)
      if value is not None and not _is_share(value):
        mistakes.append(
            f'{field} is {value!r}; give a number above 0 and at most 1')
    for field in (*_OPTIONAL_COUNTS, 'ffn_sharing', 'query_pool_size'):
      value = getattr(self, field)
      if not (is_count(value) or value is None and field in _OPTIONAL_COUNTS):
        mistakes.append(f'{field} is {value!r}; give a whole number of at least 1')
    for field, rules in (
        ('depth_growth', DEPTH_RULES), ('width_growth', WIDTH_RULES)):
      # A list, which cannot be looked up, is as wrong as any other value.
      if getattr(self, field) not in list(rules):
        mistakes.append(
            f'{field} is {getattr(self, field)!r}; choose one of '
            f'{sorted(rules)}')
    if not isinstance(self.weighted_norm, bool):
      mistakes.append(
          f'weighted_norm is {self.weighted_norm!r}; give True or False')
    return mistakes

  def architecture(
      self, target: Architecture, narrower: Architecture | None = None
  ) -> Architecture:
    """The stage's model on the way to an untreated target.

    Args:
      target: the model that the run ends with.
      narrower: the model that this stage grows from; needed where the
        LayerNorms keep its statistics.

    Raises:
      ValueError: if something does not come out whole, or does not fit.
    """
    mistakes = []

    def part(share: float, whole: int, name: str, unit: str, mend: str) -> int:
      exact = share * whole
      number = round(exact)
      if number < 1 or abs(exact - number) > _WHOLE_TOLERANCE:
        mistakes.append(
            f'{name} {share:g} of {whole} {unit} is {exact:g} {unit}; choose a '
            f'{name} that gives a whole number, or give {mend}')
      return max(1, number)

    num_layers = self.num_layers
    if num_layers is None:
      num_layers = part(
          self.depth, target.num_layers, 'depth', 'layers', 'num_layers')
    sizes = {name: getattr(self, name) or getattr(target, name)
             for name in ('hidden_size', 'num_heads', 'inner_size')}
    if self.width is not None:
      sizes = {
          name: part(self.width, getattr(target, name), 'width', unit, name)
          for name, unit in (
              ('hidden_size', 'hidden units'), ('num_heads', 'heads'),
              ('inner_size', 'feed-forward units'))}
    is_regular = target.hidden_size == target.num_heads * target.head_size
    if is_regular and (
        sizes['hidden_size'] != sizes['num_heads'] * target.head_size):
      mistakes.append(
          f'num_heads {sizes["num_heads"]} of head_size {target.head_size} do not '
          f'make hidden_size {sizes["hidden_size"]}; give both')
    sequence_length = self.sequence_length or target.max_positions
    if self.length is not None:
      sequence_length = part(
          self.length, target.max_positions, 'length', 'tokens',
          'sequence_length')
    ffn_rank = self.ffn_rank
    if self.ffn_rank_share is not None:
      ffn_rank = max(1, round(self.ffn_rank_share * sizes['hidden_size']))
    if sizes['inner_size'] % self.ffn_sharing:
      mistakes.append(
          f'ffn_sharing {self.ffn_sharing} does not divide inner_size '
          f'{sizes["inner_size"]}; choose a divisor')
    if ffn_rank is not None and self.ffn_sharing > 1:
      mistakes.append(
          f'ffn_rank {ffn_rank} and ffn_sharing {self.ffn_sharing} exclude '
          'each other; drop one')
    norm_source_size = None
    if self.weighted_norm and narrower is not None:
      if narrower.hidden_size < sizes['hidden_size']:
        norm_source_size = narrower.hidden_size
      elif narrower.hidden_size == sizes['hidden_size']:
        # Of a checkpoint that has been widened already.
        norm_source_size = narrower.norm_source_size
      if norm_source_size is None:
        mistakes.append(
            f'weighted_norm is set, but hidden_size {sizes["hidden_size"]} does '
            f'not grow from {narrower.hidden_size}; drop weighted_norm')
    if mistakes:
      raise ValueError('; '.join(mistakes))
    return target.untreated().replace(
        num_layers=num_layers, ffn_sharing=self.ffn_sharing,
        query_pool_size=self.query_pool_size, ffn_rank=ffn_rank,
        sequence_length=sequence_length, head_size=target.head_size,
        norm_source_size=norm_source_size, **sizes)

  def trained_part(
      self, target: Architecture, num_layers: int
  ) -> tuple[int | None, int | None]:
    """(`trained_layers`, `sub_model_layers`) of a stage with so many layers.

    Raises:
      ValueError: if layers do not come out whole or do not fit.
    """
    numbers = []
    for kind in ('trained', 'sub_model'):
      number = getattr(self, f'{kind}_layers')
      share = getattr(self, f'{kind}_depth')
      if share is not None:
        exact = share * target.num_layers
        number = round(exact)
        if number < 1 or abs(exact - number) > _WHOLE_TOLERANCE:
          raise ValueError(
              f'{kind}_depth {share:g} of {target.num_layers} layers is '
              f'{exact:g} layers; choose one that gives a whole number, or give '
              f'{kind}_layers')
      numbers.append(number)
    trained, sub_model = numbers
    if trained is not None and trained > num_layers:
      raise ValueError(
          f'trained_layers is {trained}, but the stage has {num_layers} layers; '
          'train fewer')
    if sub_model is not None and num_layers % sub_model:
      raise ValueError(
          f'sub_model_layers {sub_model} does not divide the {num_layers} layers '
          'of the stage; choose a divisor')
    # The whole depth is no part.
    return (trained if trained != num_layers else None,
            sub_model if sub_model != num_layers else None)

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def _is_share(value: Any) -> bool:
  return (isinstance(value, (int, float)) and not isinstance(value, bool)
          and math.isfinite(value) and 0 < value <= 1)


def is_count(value: Any) -> bool:
  """Whether a value is a whole number of at least 1; True is none."""
  return isinstance(value, int) and not isinstance(value, bool) and value >= 1
