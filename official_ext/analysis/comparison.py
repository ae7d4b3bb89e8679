"""Several runs beside a baseline: time, FLOPs, and what they bought."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
import posixpath
from typing import Any

import numpy as np

from official_ext.analysis import profile_trace
from official_ext.analysis.comparability import differences
from official_ext.analysis.run_summary import read_run
from official_ext.analysis.run_summary import RunSummary
from official_ext.analysis.run_summary import StageSummary
from official_ext.mistakes import raise_if_any

# Default losses lie on one of these grids.
_LOSS_STEPS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
_NUM_LOSSES = 3
# Share of the way down, counted from its end, in which they lie.
_LAST_PART = 0.25
# What measures a run is no part of what it costs.
_MEASURING = ('evaluation', 'profiling')


@dataclasses.dataclass(frozen=True)
class StageTimes:
  """Step times of one stage, in seconds a training step.

  Attributes:
    stage: what the stage is.
    num_traced_steps: steps that the profiler traced; 0 if none, and then the
      profiler's figures are None.
    median_seconds: by the profiler's step markers.
    p90_seconds: nine steps of ten took at most this.
    mean_seconds: of the same markers.
    shares: of the marked time, see `profile_trace.MarkedStep.parts`.
    wall_seconds: by the wall clock, mean of the same traced steps.
    logged_seconds: by the wall clock, median of the intervals of the whole
      stage; None before the first.
  """

  stage: StageSummary
  num_traced_steps: int
  median_seconds: float | None
  p90_seconds: float | None
  mean_seconds: float | None
  shares: Mapping[str, float] | None
  wall_seconds: float | None
  logged_seconds: float | None

  @property
  def deviation(self) -> float | None:
    """Marked time over the wall clock of the same steps, minus one."""
    if not self.wall_seconds:
      return None
    return self.mean_seconds / self.wall_seconds - 1


@dataclasses.dataclass(frozen=True)
class LossPoint:
  """A held-out loss, and what the run had spent when it was taken.

  Attributes:
    step: steps done.
    flops: training FLOPs spent.
    seconds: walltime spent, without evaluation and profiling.
    loss: held-out loss.
  """

  step: float
  flops: float
  seconds: float
  loss: float


@dataclasses.dataclass(frozen=True)
class ComparedRun:
  """One run of a comparison.

  Attributes:
    name: short, and unlike the others'.
    summary: the run itself.
    stages: step times of its stages, in order.
    spent_seconds: walltime by kind (`training.time_ledger.KINDS`); `other` is
      what was not measured. Kinds that older runs do not tell are left out.
    points: held-out losses, in order; two at a growth.
    differences: why it cannot be compared with the baseline; empty if it can.
  """

  name: str
  summary: RunSummary
  stages: tuple[StageTimes, ...]
  spent_seconds: Mapping[str, float]
  points: tuple[LossPoint, ...]
  differences: tuple[str, ...] = ()

  @property
  def flops(self) -> float:
    """Training FLOPs of the steps that have been done."""
    return sum(stage.steps_done * stage.flops_per_step
               for stage in self.summary.stages)

  @property
  def seconds(self) -> float:
    """Walltime without evaluation and profiling."""
    return sum(seconds for kind, seconds in self.spent_seconds.items()
               if kind not in _MEASURING)

  @property
  def profiled_seconds(self) -> float | None:
    """All steps of the schedule at the profiler's median; None if untraced."""
    medians = [times.median_seconds for times in self.stages]
    if None in medians:
      return None
    return sum(times.stage.num_steps * times.median_seconds
               for times in self.stages)

  def reached(self, loss: float) -> LossPoint | None:
    """Where the held-out loss first came down to `loss`.

    Between two evaluations of a stage the run is taken to go in a straight
    line. None if the loss was never reached, or was there from the beginning.
    """
    for before, after in itertools.pairwise(self.points):
      if before.loss > loss >= after.loss:
        share = (before.loss - loss) / (before.loss - after.loss)
        return LossPoint(loss=loss, **{
            name: getattr(before, name) + share * (
                getattr(after, name) - getattr(before, name))
            for name in ('step', 'flops', 'seconds')})
    return None

  def reached_for_good(self, loss: float) -> LossPoint | None:
    """Where the loss last came down to `loss` and stayed there.

    A growth may take back what the small model had reached.
    """
    if not self.points or self.points[-1].loss > loss:
      return None
    above = [i for i, point in enumerate(self.points) if point.loss > loss]
    if not above:
      return None
    rest = dataclasses.replace(self, points=self.points[above[-1]:])
    return rest.reached(loss)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Runs beside a baseline.

  Attributes:
    runs: the baseline first.
    losses: held-out losses to which time and FLOPs are given, falling.
  """

  runs: tuple[ComparedRun, ...]
  losses: tuple[float, ...]

  @property
  def baseline(self) -> ComparedRun:
    return self.runs[0]

  def speedup(self, run: ComparedRun, quantity: str) -> float | None:
    """The baseline's amount over the run's, minus one: 1.0 is half of it.

    Args:
      run: one of the runs.
      quantity: 'flops', 'seconds' (walltime), 'steps' (the walltime of training
        steps alone), or 'profiled' (all steps at the profiler's medians).

    Returns:
      None if either is not known, or either run is not over.
    """
    amounts = [_amount(one, quantity) for one in (self.baseline, run)]
    if not all(amounts):
      return None
    return amounts[0] / amounts[1] - 1

  def speedup_to(self, run: ComparedRun, loss: float, quantity: str
                 ) -> float | None:
    """As `speedup`, of 'step', 'flops' or 'seconds' to a held-out loss."""
    points = [one.reached(loss) for one in (self.baseline, run)]
    if None in points or not getattr(points[1], quantity):
      return None
    return getattr(points[0], quantity) / getattr(points[1], quantity) - 1


def compare_runs(paths: Sequence[str], *, losses: Sequence[float] = (),
                 force: bool = False) -> Comparison:
  """Reads runs and their traces.

  Args:
    paths: run directories, the baseline first; may be remote.
    losses: held-out losses to be reached; by default a few that all reach.
    force: compare what cannot be compared; the reasons are kept.

  Raises:
    ValueError: there is no run beside the baseline, one cannot be read, or,
      without `force`, one cannot be compared with the baseline: a
      ConfigurationError with all reasons.
  """
  if len(paths) < 2:
    raise ValueError(f'{len(paths)} run directories are given; give the baseline '
                     'and at least one other.')
  summaries = [read_run(path) for path in paths]
  names = run_names(paths)
  reasons = [tuple(differences(summaries[0], names[0], summary, name))
             for summary, name in zip(summaries, names)]
  if not force:
    raise_if_any([f'{reason} (--force compares all the same)'
                  for found in reasons for reason in found])
  runs = tuple(
      ComparedRun(
          name=name, summary=summary, stages=_stage_times(summary),
          spent_seconds=_spent_seconds(summary), points=_points(summary),
          differences=found)
      for name, summary, found in zip(names, summaries, reasons))
  return Comparison(
      runs=runs,
      losses=tuple(sorted(losses or default_losses(runs), reverse=True)))


def run_names(paths: Sequence[str]) -> list[str]:
  """The part of each path by which they differ: `scratch` of `a/scratch/model`.

  The last such part of each path, or the whole path where that is not enough.
  """
  parts = [posixpath.normpath(path).split('/') for path in paths]
  while (min(map(len, parts)) > 1
         and len({path_parts[-1] for path_parts in parts}) == 1):
    parts = [path_parts[:-1] for path_parts in parts]
  names = [path_parts[-1] for path_parts in parts]
  return names if len(set(names)) == len(names) else list(paths)


def default_losses(runs: Sequence[ComparedRun]) -> list[float]:
  """The lowest round losses that every run came down to; possibly none."""
  if any(len(run.points) < 2 for run in runs):
    return []
  low = max(min(point.loss for point in run.points) for run in runs)
  high = min(run.points[0].loss for run in runs)
  for step in _LOSS_STEPS:
    first = math.ceil(low / step - 1e-9)
    found = [round(step * (first + i), 3) for i in range(_NUM_LOSSES)]
    if found[-1] <= low + _LAST_PART * (high - low):
      return found
  return []


def _amount(run: ComparedRun, quantity: str) -> float | None:
  if not run.summary.is_finished:
    return None
  if quantity == 'steps':
    return run.spent_seconds['steps']
  return {'flops': run.flops, 'seconds': run.seconds,
          'profiled': run.profiled_seconds}[quantity]


def _points(summary: RunSummary) -> tuple[LossPoint, ...]:
  return tuple(
      LossPoint(step=record['step'], flops=record['train_flops'],
                seconds=spent_by(record), loss=record['loss'])
      for record in summary.held_out)


def spent_by(record: Mapping[str, Any]) -> float:
  """Walltime up to a metrics record, without evaluation and profiling."""
  spent = record.get('spent_seconds', {})
  return record['wall_seconds'] - sum(spent.get(kind, 0.0) for kind in _MEASURING)


def _spent_seconds(summary: RunSummary) -> dict[str, float]:
  records = [*summary.train, *summary.held_out]
  told = [record for record in records if 'spent_seconds' in record]
  if told:
    last = max(told, key=lambda record: record['wall_seconds'])
    spent = dict(last['spent_seconds'])
  else:
    spent = {'steps': sum(stage.train_seconds for stage in summary.stages),
             'tracing': summary.tracing_seconds,
             'growth': sum(growth['seconds'] for growth in summary.growths)}
  # Rounded sums can exceed the whole.
  other = max(0.0, (summary.wall_seconds or 0.0) - sum(spent.values()))
  return spent | {'other': other}


def _stage_times(summary: RunSummary) -> tuple[StageTimes, ...]:
  return tuple(
      _times_of(summary, stage,
                [t for t in summary.traces if t['stage'] == stage.index])
      for stage in summary.stages)


def _times_of(summary: RunSummary, stage: StageSummary,
              traces: Sequence[Mapping[str, Any]]) -> StageTimes:
  seconds, weights, wall = [], [], 0.0
  parts = dict.fromkeys(profile_trace.PARTS, 0.0)
  for trace in traces:
    steps_per_marker = trace['steps_per_marker']
    for marked in profile_trace.read_trace(
        posixpath.join(summary.path, trace['directory'])):
      seconds.append(marked.seconds / steps_per_marker)
      weights.append(steps_per_marker)
      for part, value in marked.parts.items():
        parts[part] += value
    wall += trace['seconds']
  if not seconds:
    return StageTimes(stage, 0, None, None, None, None, None,
                      stage.step_seconds)
  num_steps = sum(trace['steps'] for trace in traces)
  total = sum(parts.values())
  return StageTimes(
      stage, num_steps, float(np.median(seconds)),
      float(np.quantile(seconds, 0.9)),
      float(np.average(seconds, weights=weights)),
      {part: value / total for part, value in parts.items()},
      wall / num_steps, stage.step_seconds)
