"""What a run directory says about its run, whatever state the run is in."""

from collections.abc import Sequence
import dataclasses
import json
import math
import statistics
from typing import Any

import tensorflow as tf

from official_ext.analysis import flops
from official_ext.data.manifest import Unigram
from official_ext.growth.architecture import Architecture
from official_ext.schedules import ResolvedStage
from official_ext.training import plateau
from official_ext.training import run_directory
from official_ext.training.run_directory import RunDirectory

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class StageSummary:
  """One stage, as planned and as measured so far.

  Attributes:
    index: position in the schedule.
    name: the stage's name.
    start_step: first step, counted from 0.
    end_step: the step that the next stage starts at.
    architecture: the model of this stage.
    query_length: tokens a sequence after layer 0.
    parameters: weights of the model.
    trained_part: what of them is trained, in words.
    flops_per_step: training FLOPs of one step, whole batch.
    steps_done: steps that have been recorded.
    step_seconds: typical seconds a step; None before the first measurement.
    train_seconds: seconds of the recorded steps, without tracing their graph.
  """

  index: int
  name: str
  start_step: int
  end_step: int
  architecture: Architecture
  query_length: int
  parameters: int
  trained_part: str
  flops_per_step: int
  steps_done: int
  step_seconds: float | None
  train_seconds: float

  @property
  def num_steps(self) -> int:
    return self.end_step - self.start_step

  @property
  def flops(self) -> int:
    """Training FLOPs of the whole stage."""
    return self.num_steps * self.flops_per_step


@dataclasses.dataclass(frozen=True)
class RunSummary:
  """A run.

  Attributes:
    path: the run directory.
    num_steps: steps of the whole run.
    batch_size: sequences a step.
    num_predictions: masked tokens a sequence has room for.
    stages: in order.
    train: metrics records of training intervals, by step.
    held_out: metrics records of evaluations, by step.
    growths: growth records, by step.
    config: text of the gin configuration, possibly empty.
    manifest: the data set's manifest, possibly empty.
    has_next_sentence: whether next-sentence prediction is trained, too.
    data: hashes of the vocabulary and of the records, possibly empty.
    traces: profile records, by step.
  """

  path: str
  num_steps: int
  batch_size: int
  num_predictions: int
  stages: tuple[StageSummary, ...]
  train: tuple[Record, ...]
  held_out: tuple[Record, ...]
  growths: tuple[Record, ...]
  config: str
  manifest: Record
  has_next_sentence: bool
  data: Record
  traces: tuple[Record, ...]

  @property
  def target(self) -> Architecture:
    return self.stages[-1].architecture

  @property
  def accuracy_metric(self) -> str:
    """The key of the accuracy in metrics records."""
    return ('causal_lm_accuracy' if self.target.family == 'gpt'
            else 'masked_lm_accuracy')

  @property
  def accuracy_name(self) -> str:
    return ('next-token accuracy' if self.target.family == 'gpt'
            else 'masked accuracy')

  @property
  def loss_metric(self) -> str:
    """The key of the loss over tokens in metrics records."""
    return 'causal_lm_loss' if self.target.family == 'gpt' else 'masked_lm_loss'

  @property
  def loss_name(self) -> str:
    return ('causal-LM loss' if self.target.family == 'gpt'
            else 'masked-LM loss')

  @property
  def unigram(self) -> Unigram | None:
    """What token frequencies alone predict; None if the data did not say it."""
    found = self.manifest.get('unigram')
    return Unigram(**found) if found else None

  @property
  def nats_below_unigram(self) -> float:
    """How far the newest held-out loss is below the unigram level."""
    return self.unigram.cross_entropy - self.last_held_out[self.loss_metric]

  @property
  def is_near_unigram(self) -> bool:
    """Whether the newest held-out loss is still at the unigram level."""
    return plateau.is_near(self.last_held_out[self.loss_metric], self.unigram)

  @property
  def likelihood_ratio(self) -> float:
    """How much likelier the right token is than by its frequency alone.

    A geometric mean over the held-out predictions.
    """
    return math.exp(self.nats_below_unigram)

  @property
  def step(self) -> int:
    """Steps that have been recorded."""
    return max((record['step'] for record in self.train + self.held_out),
               default=0)

  @property
  def is_finished(self) -> bool:
    return self.step >= self.num_steps

  @property
  def last_held_out(self) -> Record | None:
    return self.held_out[-1] if self.held_out else None

  @property
  def wall_seconds(self) -> float | None:
    """Seconds of the whole run so far, evaluations and growths included."""
    seconds = [record['wall_seconds'] for record in self.train + self.held_out
               if record.get('wall_seconds') is not None]
    return max(seconds, default=None)

  @property
  def tracing_seconds(self) -> float:
    """Seconds spent so far on tracing and compiling the stages' graphs."""
    return sum(record.get('tracing_seconds') or 0.0 for record in self.train)

  @property
  def flops(self) -> int:
    """Training FLOPs of the whole schedule."""
    return sum(stage.flops for stage in self.stages)

  @property
  def full_model_flops(self) -> int:
    """Training FLOPs if every step were one of the last stage's."""
    return self.num_steps * self.stages[-1].flops_per_step

  @property
  def flops_speedup(self) -> float:
    """`full_model_flops / flops - 1`; 1.02 is +102 %."""
    return self.full_model_flops / self.flops - 1

  @property
  def step_seconds(self) -> float | None:
    """Seconds of all steps at each stage's typical time, once all are known."""
    times = [stage.step_seconds for stage in self.stages]
    if None in times:
      return None
    return sum(stage.num_steps * stage.step_seconds for stage in self.stages)

  @property
  def full_model_seconds(self) -> float | None:
    """Seconds if every step took the last stage's typical time."""
    seconds = self.stages[-1].step_seconds
    return None if seconds is None else self.num_steps * seconds

  @property
  def walltime_speedup(self) -> float | None:
    """Estimated from the step times: evaluation and start-up are left out."""
    if self.step_seconds is None:
      return None
    return self.full_model_seconds / self.step_seconds - 1


def read_run(model_dir: str) -> RunSummary:
  """Reads a run directory, of a run that is over or still going on.

  Args:
    model_dir: what `train` was given; may be remote.

  Returns:
    Everything that the files say; torn last lines are left out.

  Raises:
    ValueError: `model_dir` holds no run, or its schedule cannot be read.
  """
  directory = RunDirectory(model_dir)
  schedule_file = directory.file(run_directory.SCHEDULE_FILE)
  if not tf.io.gfile.exists(schedule_file):
    raise ValueError(
        f'{model_dir} holds no run: {run_directory.SCHEDULE_FILE} is missing. '
        'Give the model_dir that `train` wrote to.')
  try:
    schedule = json.loads(_read(schedule_file))
    metrics = sorted(directory.records(run_directory.METRICS_FILE),
                     key=lambda record: record['step'])
    train = tuple(r for r in metrics if r['split'] == 'train')
    return RunSummary(
        path=model_dir,
        num_steps=schedule['num_steps'],
        batch_size=schedule['batch_size'],
        num_predictions=schedule['num_predictions'],
        stages=_summarise_stages(schedule, train),
        train=train,
        held_out=tuple(r for r in metrics if r['split'] == 'eval'),
        growths=tuple(sorted(directory.records(run_directory.GROWTH_FILE),
                             key=lambda record: record['step'])),
        config=_read(directory.file(run_directory.CONFIG_FILE)),
        manifest=json.loads(_read(
            directory.file(run_directory.DATA_MANIFEST_FILE)) or '{}'),
        has_next_sentence=schedule['model']['use_next_sentence'],
        data=schedule.get('data', {}),
        traces=tuple(directory.records(run_directory.PROFILE_FILE)))
  except (json.JSONDecodeError, KeyError, TypeError) as error:
    raise ValueError(
        f'{model_dir}: the records of the run cannot be read '
        f'({type(error).__name__}: {error}); restore '
        f'{run_directory.SCHEDULE_FILE} and {run_directory.METRICS_FILE} as '
        '`train` wrote them.') from error


def _read(path: str) -> str:
  if not tf.io.gfile.exists(path):
    return ''
  with tf.io.gfile.GFile(path) as file:
    return file.read()


def _summarise_stages(schedule: Record, train: Sequence[Record]
                      ) -> tuple[StageSummary, ...]:
  stages = []
  has_next_sentence = schedule['model']['use_next_sentence']
  for stage in schedule['stages']:
    # Runs of before stages could have data of their own do not say it.
    num_predictions = stage.get('num_predictions', schedule['num_predictions'])
    architecture = Architecture(**stage['architecture'])
    resolved = ResolvedStage(**{
        name: value for name, value in stage.items()
        if name != 'num_predictions'} | {'architecture': architecture})
    intervals = _intervals(stage, train)
    measured = [seconds for _, seconds in intervals if seconds is not None]
    step_seconds = statistics.median(measured) if measured else None
    stages.append(StageSummary(
        index=stage['index'], name=stage['name'],
        start_step=stage['start_step'], end_step=stage['end_step'],
        architecture=architecture,
        query_length=architecture.query_length(num_predictions),
        parameters=flops.parameter_count(
            architecture, has_next_sentence=has_next_sentence),
        trained_part=resolved.trained_part,
        flops_per_step=flops.stage_train_flops(
            resolved, num_predictions, schedule['batch_size'],
            has_next_sentence=has_next_sentence),
        steps_done=sum(steps for steps, _ in intervals),
        step_seconds=step_seconds,
        # Where a whole interval went into tracing, the typical time is put.
        train_seconds=sum(
            steps * (step_seconds if seconds is None else seconds)
            for steps, seconds in intervals) if measured else 0.0))
  return tuple(stages)


def _intervals(stage: Record, train: Sequence[Record]
               ) -> list[tuple[int, float | None]]:
  """(steps, seconds a step if measured) of each interval of a stage."""
  intervals = []
  last = stage['start_step']
  for record in train:
    if last < record['step'] <= stage['end_step']:
      intervals.append((record['step'] - last, record.get('step_seconds')))
      last = record['step']
  return intervals
