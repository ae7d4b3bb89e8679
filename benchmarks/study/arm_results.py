"""What the results say of each arm: losses, savings, growths."""

from collections.abc import Iterable, Sequence
import dataclasses
import statistics

from benchmarks.study.arms import Arm
from benchmarks.study.results import Record


@dataclasses.dataclass(frozen=True)
class Spread:
  """Mean and standard deviation over seeds.

  Attributes:
    mean: over the seeds.
    deviation: of the sample; None with one seed.
    count: how many seeds.
  """

  mean: float
  deviation: float | None
  count: int

  @classmethod
  def of(cls, values: Iterable[float]) -> 'Spread | None':
    """None if there are no values."""
    values = list(values)
    if not values:
      return None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return cls(statistics.mean(values), deviation, len(values))


@dataclasses.dataclass(frozen=True)
class Crossing:
  """Where a run reached a loss.

  Attributes:
    step: the training step.
    flops: training FLOPs up to there.
    seconds: processor seconds up to there.
  """

  step: float
  flops: float
  seconds: float


def crossing(run: Record, loss: float) -> Crossing | None:
  """Where the whole model of a run first had at most this held-out loss.

  Evaluations before the model has its final size do not count: a small model
  that reaches the loss is not the model that was wanted. Between two evaluations
  the loss is taken as linear.

  Args:
    run: a line of the results.
    loss: held-out, in nats.

  Returns:
    None if the run never reached it.
  """
  # A stage may also begin with nothing but a restart of the rate, or with another
  # part of the same model in training.
  grown = {growth['step']: growth['loss_after'] for growth in run['growths']
           if any(not change.startswith('trained ')
                  for change in growth['operators'])}
  last_growth = max(grown, default=0)
  before = None
  for step, flops, seconds, value, _ in run['curve']:
    if step < last_growth:
      continue
    if step in grown:
      # The point is the smaller model's; the grown one starts from its own loss.
      value = grown[step]
    point = (step, flops, seconds)
    if value <= loss:
      if before is None or before[0] <= value:
        return Crossing(*point)
      share = (before[0] - loss) / (before[0] - value)
      return Crossing(*(old + share * (new - old)
                        for old, new in zip(before[1], point)))
    before = (value, point)
  return None


@dataclasses.dataclass(frozen=True)
class Growth:
  """One growth of an arm, over its seeds.

  Attributes:
    step: when.
    operators: what grew.
    jump: change of the held-out loss.
    recovery_steps: steps to the first evaluation at or below the loss before;
      None if a seed never got there.
  """

  step: int
  operators: tuple[str, ...]
  jump: Spread
  recovery_steps: Spread | None


@dataclasses.dataclass(frozen=True)
class ArmResult:
  """An arm, over the seeds that were run.

  Attributes:
    arm: the arm.
    runs: its lines of the results, by seed.
    loss: final held-out loss.
    accuracy: final held-out accuracy.
    flops: training FLOPs of a whole run.
    seconds: processor seconds of a whole run's training steps.
    parameters: of the target.
    tokens_per_parameter: tokens that were trained on, over `parameters`.
    growths: in order.
    reached: where each seed reached the control's mean final loss; None for
      one that did not. Empty if the control was not run.
    control_flops: training FLOPs of the control's whole run.
    control_seconds: processor seconds of the control's training steps.
  """

  arm: Arm
  runs: tuple[Record, ...]
  loss: Spread
  accuracy: Spread
  flops: float
  seconds: float
  parameters: int
  tokens_per_parameter: float
  growths: tuple[Growth, ...]
  reached: tuple[Crossing | None, ...]
  control_flops: float | None
  control_seconds: float | None

  @property
  def flops_to_loss(self) -> Spread | None:
    """FLOPs to the control's final loss; None unless all seeds reached it."""
    if not self.reached or None in self.reached:
      return None
    return Spread.of(each.flops for each in self.reached)

  @property
  def seconds_to_loss(self) -> Spread | None:
    if not self.reached or None in self.reached:
      return None
    return Spread.of(each.seconds for each in self.reached)

  @property
  def saved(self) -> float | None:
    """Share of the control's FLOPs that is saved at its final loss."""
    if self.flops_to_loss is None:
      return None
    return 1 - self.flops_to_loss.mean / self.control_flops

  @property
  def speedup(self) -> float | None:
    """The same in the papers' notation: 1.0 is +100 %, half of the FLOPs."""
    if self.flops_to_loss is None:
      return None
    return self.control_flops / self.flops_to_loss.mean - 1


def against(result: ArmResult, control: ArmResult) -> ArmResult:
  """The same runs, measured by the final loss of another control."""
  return dataclasses.replace(
      result,
      reached=tuple(crossing(run, control.loss.mean) for run in result.runs),
      control_flops=control.flops, control_seconds=control.seconds)


def summarise(arms: Iterable[Arm], runs: Sequence[Record]
              ) -> dict[str, ArmResult]:
  """Arm name to its result, for the arms that have runs, in the arms' order."""
  by_arm = {}
  for run in sorted(runs, key=lambda run: run['seed']):
    by_arm.setdefault(run['arm'], []).append(run)
  return {arm.name: _summarise(arm, by_arm[arm.name], by_arm.get(arm.control, ()))
          for arm in arms if arm.name in by_arm}


def _summarise(arm: Arm, runs: Sequence[Record], controls: Sequence[Record]
               ) -> ArmResult:
  target = Spread.of(run['final_loss'] for run in controls)
  return ArmResult(
      arm=arm, runs=tuple(runs),
      loss=Spread.of(run['final_loss'] for run in runs),
      accuracy=Spread.of(run['final_accuracy'] for run in runs),
      flops=statistics.mean(run['curve'][-1][1] for run in runs),
      seconds=statistics.mean(run['curve'][-1][2] for run in runs),
      parameters=runs[0]['parameters'],
      tokens_per_parameter=runs[0]['tokens'] / runs[0]['parameters'],
      growths=_growths(runs),
      reached=() if target is None else tuple(
          crossing(run, target.mean) for run in runs),
      control_flops=controls[0]['curve'][-1][1] if controls else None,
      control_seconds=statistics.median(
          run['curve'][-1][2] for run in controls) if controls else None)


def _growths(runs: Sequence[Record]) -> tuple[Growth, ...]:
  found = []
  for each in zip(*(run['growths'] for run in runs)):
    recoveries = [_recovery_steps(run, growth)
                  for run, growth in zip(runs, each)]
    found.append(Growth(
        each[0]['step'], tuple(each[0]['operators']),
        Spread.of(growth['loss_after'] - growth['loss_before']
                  for growth in each),
        None if None in recoveries else Spread.of(recoveries)))
  return tuple(found)


def _recovery_steps(run: Record, growth: Record) -> int | None:
  if growth['loss_after'] <= growth['loss_before']:
    return 0
  for step, _, _, loss, _ in run['curve']:
    if step > growth['step'] and loss <= growth['loss_before']:
      return step - growth['step']
  return None
