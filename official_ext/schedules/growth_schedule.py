"""A run as a sequence of stages that ends at the untreated target."""

from collections.abc import Iterable
import dataclasses
import json
import math
from typing import Any

from official_ext.growth import Architecture
from official_ext.growth import describe_operators
from official_ext.growth import growth_mistakes
from official_ext.schedules.stage import is_count
from official_ext.schedules.stage import Stage

_SUM_TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class ResolvedStage:
  """A stage in absolute numbers.

  Attributes:
    index: 0 for the first stage.
    name: the stage's name.
    start_step: steps done when the stage begins.
    end_step: steps done when it ends; the next stage begins here.
    architecture: the stage's model.
    depth_growth: rule by which layers are added when the stage begins.
    width_growth: rule by which units are added when the stage begins.
    trained_layers: layers from the top that are trained with the heads; None
      means everything.
    sub_model_layers: every step trains a drawn sub-model, whose depth is a
      multiple of this; None means the whole model.
  """

  index: int
  name: str
  start_step: int
  end_step: int
  architecture: Architecture
  depth_growth: str = 'append'
  width_growth: str = 'fpi'
  trained_layers: int | None = None
  sub_model_layers: int | None = None

  @property
  def num_steps(self) -> int:
    return self.end_step - self.start_step

  @property
  def end_architecture(self) -> Architecture:
    """The model after the stage's steps, which make its LayerNorms ordinary."""
    if not self.num_steps:
      return self.architecture
    return self.architecture.replace(norm_source_size=None)

  @property
  def trained_part(self) -> str:
    """What of the model is trained, in words."""
    if self.sub_model_layers is not None:
      *depths, last = range(
          self.sub_model_layers, self.architecture.num_layers + 1,
          self.sub_model_layers)
      return f'sub-models of {", ".join(map(str, depths))} or {last} layers'
    if self.trained_layers is not None:
      return ('top layer' if self.trained_layers == 1
              else f'top {self.trained_layers} layers')
    return 'all'

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def at_start(source: Architecture, first: Architecture) -> Architecture:
  """What a checkpoint's model is where the first stage of a run takes it up.

  Length and pooling have no weights: a run may begin with shorter sequences, or
  with pooled queries, whatever its checkpoint was trained with.
  """
  return source.replace(
      sequence_length=min(source.sequence_length, first.sequence_length),
      query_pool_size=max(source.query_pool_size, first.query_pool_size))


def describe_growth(source: ResolvedStage, target: ResolvedStage) -> list[str]:
  """What changes from one stage to the next, one entry each."""
  changes = describe_operators(
      source.architecture, target.architecture, depth=target.depth_growth,
      width=target.width_growth)
  if source.trained_part != target.trained_part:
    changes.append(f'trained {source.trained_part} -> {target.trained_part}')
  return changes


@dataclasses.dataclass(frozen=True)
class GrowthSchedule:
  """Stages in order. One schedule serves every size of target.

  Attributes:
    stages: the stages, at least one, with distinct names.
  """

  stages: tuple[Stage, ...]

  def __post_init__(self):
    if isinstance(self.stages, Stage) or not isinstance(self.stages, Iterable):
      raise ValueError(
          f'GrowthSchedule: stages is {self.stages!r}; give a list of Stage.')
    object.__setattr__(self, 'stages', tuple(self.stages))
    mistakes = []
    strangers = [s for s in self.stages if not isinstance(s, Stage)]
    if not self.stages:
      mistakes.append('stages is empty; give at least one Stage')
    if strangers:
      mistakes.append(f'stages holds {strangers!r}; give Stage objects only')
    else:
      names = [stage.name for stage in self.stages]
      for name in sorted({name for name in names if names.count(name) > 1}):
        mistakes.append(
            f'stage {name!r}: name is used {names.count(name)} times; give each '
            'stage its own')
    if mistakes:
      raise ValueError('GrowthSchedule: ' + '; '.join(mistakes) + '.')

  def resolve(
      self, target: Architecture, num_steps: int,
      source: Architecture | None = None) -> tuple[ResolvedStage, ...]:
    """The stages in absolute numbers.

    Fractions are rounded at the boundaries between stages, so the steps always
    add up to `num_steps`.

    Args:
      target: the model to end with; its own treatments are ignored.
      num_steps: steps of the whole run.
      source: the model that the first stage grows from; None means that it
        starts from fresh weights.

    Raises:
      ValueError: listing every mistake at once.
    """
    mistakes, resolved = self._examine(target, num_steps, source)
    if mistakes:
      raise ValueError('GrowthSchedule: ' + '; '.join(mistakes) + '.')
    return resolved

  def mistakes(self, target: Architecture, num_steps: int,
               source: Architecture | None = None) -> list[str]:
    """Everything that keeps the schedule from serving this target and length."""
    return self._examine(target, num_steps, source)[0]

  def to_json(self) -> str:
    return json.dumps({'stages': [stage.to_dict() for stage in self.stages]})

  @classmethod
  def from_json(cls, text: str) -> 'GrowthSchedule':
    """The schedule that `to_json` wrote.

    Raises:
      ValueError: if the text is something else.
    """
    try:
      content = json.loads(text)
    except json.JSONDecodeError as error:
      raise ValueError(
          f'GrowthSchedule.from_json: not JSON ({error}); give what to_json '
          'returned.') from error
    stages = content.get('stages') if isinstance(content, dict) else None
    if not isinstance(stages, list) or not all(
        isinstance(stage, dict) for stage in stages):
      raise ValueError(
          f'GrowthSchedule.from_json: {text[:60]!r} has no list of stages; give '
          'what to_json returned.')
    known = {field.name for field in dataclasses.fields(Stage)}
    unknown = sorted({key for stage in stages for key in stage} - known)
    if unknown:
      raise ValueError(
          f'GrowthSchedule.from_json: unknown fields {unknown}; a stage has '
          f'{sorted(known)}.')
    return cls(tuple(Stage(**{'name': '', **stage}) for stage in stages))

  def _examine(
      self, target: Architecture, num_steps: int, source: Architecture | None
  ) -> tuple[list[str], tuple[ResolvedStage, ...]]:
    boundaries, mistakes = self._boundaries(num_steps)
    target = target.untreated()
    shapes, parts = [], []
    previous_name, previous = 'init_checkpoint', source
    for index, stage in enumerate(self.stages):
      if stage.weighted_norm and previous is None and not index:
        mistakes.append(
            f'stage {stage.name!r}: weighted_norm is set, but the first stage '
            'grows from nothing; give an init_checkpoint or drop it')
      try:
        shape = stage.architecture(target, previous)
        part = stage.trained_part(target, shape.num_layers)
      except ValueError as error:
        mistakes.append(f'stage {stage.name!r}: {error}')
        shape, part = None, None
      shapes.append(shape)
      parts.append(part)
      if shape is None:
        continue
      if previous is not None:
        if not index:
          previous = at_start(previous, shape)
        mistakes += [
            f'stage {stage.name!r} after {previous_name!r}: {mistake}'
            for mistake in growth_mistakes(
                previous, shape, stage.depth_growth, stage.width_growth)]
      # Weighted LayerNorms are ordinary ones by the end of their stage.
      previous_name, previous = stage.name, shape.replace(norm_source_size=None)
    if shapes[-1] is not None:
      mistakes += _end_mistakes(self.stages[-1], shapes[-1], parts[-1], target)
    if mistakes:
      return mistakes, ()
    return [], tuple(
        ResolvedStage(
            index, stage.name, boundaries[index], boundaries[index + 1], shape,
            stage.depth_growth, stage.width_growth, *part)
        for index, (stage, shape, part) in enumerate(
            zip(self.stages, shapes, parts)))

  def _boundaries(self, num_steps: int) -> tuple[list[int], list[str]]:
    """Steps done before each stage and at the end, with what is wrong."""
    if not is_count(num_steps):
      return [], [f'num_steps is {num_steps!r}; give a whole number of at least 1']
    fractions = [stage.fraction or 0.0 for stage in self.stages]
    steps = [stage.steps or 0 for stage in self.stages]
    total = math.fsum(fractions) * num_steps + sum(steps)
    if abs(total - num_steps) > _SUM_TOLERANCE * num_steps:
      shares = ', '.join(
          f'stage {stage.name!r} '
          + (f'steps {stage.steps}' if stage.fraction is None
             else f'fraction {stage.fraction:g}')
          for stage in self.stages)
      return [], [
          f'{shares}: together {total:.10g} of num_steps {num_steps}; '
          f'{"lengthen" if total < num_steps else "shorten"} a stage by '
          f'{abs(total - num_steps):.10g} steps '
          f'(fraction {abs(total / num_steps - 1):.6g})']
    boundaries = [
        # Whole steps are added after the rounding, which so cannot change them.
        math.floor(math.fsum(fractions[:index]) * num_steps + 0.5)
        + sum(steps[:index])
        for index in range(len(self.stages))] + [num_steps]
    mistakes = [
        f'stage {stage.name!r}: fraction {stage.fraction:g} of num_steps '
        f'{num_steps} rounds to no step; enlarge the fraction or num_steps'
        for stage, start, end in zip(self.stages, boundaries, boundaries[1:])
        if end <= start]
    return boundaries, mistakes


def _end_mistakes(
    stage: Stage, last: Architecture, part: tuple[int | None, int | None],
    target: Architecture) -> list[str]:
  mistakes = []
  for field in dataclasses.fields(Architecture):
    given, wanted = getattr(last, field.name), getattr(target, field.name)
    if given != wanted:
      mistakes.append(
          f'stage {stage.name!r}: {field.name} is {given} in the last stage; '
          f'the run has to end at the untreated target, give {wanted}')
  for name, number in zip(('trained_layers', 'sub_model_layers'), part):
    if number is not None:
      mistakes.append(
          f'stage {stage.name!r}: {name} is {number} in the last stage; the run '
          'has to end with the whole model in training, add a stage')
  return mistakes
