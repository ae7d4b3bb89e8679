"""A run as a sequence of stages that ends at the untreated target."""

from collections.abc import Iterable
import dataclasses
import json
import math
from typing import Any

from official_ext.growth import Architecture
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
  """

  index: int
  name: str
  start_step: int
  end_step: int
  architecture: Architecture
  depth_growth: str

  @property
  def num_steps(self) -> int:
    return self.end_step - self.start_step

  def to_dict(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


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
      self, target: Architecture, num_steps: int) -> tuple[ResolvedStage, ...]:
    """The stages in absolute numbers.

    Fractions are rounded at the boundaries between stages, so the steps always
    add up to `num_steps`.

    Args:
      target: the model to end with; its own treatments are ignored.
      num_steps: steps of the whole run.

    Raises:
      ValueError: listing every mistake at once.
    """
    mistakes, resolved = self._examine(target, num_steps)
    if mistakes:
      raise ValueError('GrowthSchedule: ' + '; '.join(mistakes) + '.')
    return resolved

  def mistakes(self, target: Architecture, num_steps: int) -> list[str]:
    """Everything that keeps the schedule from serving this target and length."""
    return self._examine(target, num_steps)[0]

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
      self, target: Architecture, num_steps: int
  ) -> tuple[list[str], tuple[ResolvedStage, ...]]:
    boundaries, mistakes = self._boundaries(num_steps)
    architectures = []
    for stage in self.stages:
      try:
        architectures.append(stage.architecture(target))
      except ValueError as error:
        architectures.append(None)
        mistakes.append(f'stage {stage.name!r}: {error}')
    previous_stage, previous = None, None
    for stage, architecture in zip(self.stages, architectures):
      if architecture is None:
        continue
      if previous is not None:
        mistakes += [
            f'stage {stage.name!r} after {previous_stage.name!r}: {mistake}'
            for mistake in growth_mistakes(
                previous, architecture, stage.depth_growth)]
      previous_stage, previous = stage, architecture
    if architectures[-1] is not None:
      mistakes += _end_mistakes(
          self.stages[-1], architectures[-1], target.untreated())
    if mistakes:
      return mistakes, ()
    return [], tuple(
        ResolvedStage(
            index, stage.name, boundaries[index], boundaries[index + 1],
            architecture, stage.depth_growth)
        for index, (stage, architecture) in enumerate(
            zip(self.stages, architectures)))

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
    stage: Stage, last: Architecture, target: Architecture) -> list[str]:
  mistakes = []
  for field in ('num_layers', 'ffn_sharing', 'query_pool_size', 'ffn_rank'):
    given, wanted = getattr(last, field), getattr(target, field)
    if given != wanted:
      mistakes.append(
          f'stage {stage.name!r}: {field} is {given} in the last stage; the run '
          f'has to end at the untreated target, give {wanted}')
  return mistakes
