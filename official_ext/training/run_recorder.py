"""Watches a run: progress bar, metrics, TensorBoard, evaluation, checkpoints."""

from collections.abc import Callable
import contextlib
import dataclasses
import math
import sys
import time
from typing import Any

import tensorflow as tf
import tf_keras
import tqdm

from official_ext.modeling import non_finite
from official_ext.schedules import ResolvedStage
from official_ext.training import durable_files
from official_ext.training import plateau
from official_ext.training import progressive_growth
from official_ext.training import run_directory
from official_ext.training.checkpoints import RunCheckpoints
from official_ext.training.evaluation import HeldOutEvaluation
from official_ext.training.run_directory import RunDirectory
from official_ext.training.time_ledger import TimeLedger


class NonFiniteLossError(RuntimeError):
  """The loss is no number any more; what was saved before is still good."""


class RunRecorder(tf_keras.callbacks.Callback,
                  progressive_growth.GrowthObserver):
  """Keeps the run directory up to date.

  Args:
    directory: where the records go.
    checkpoints: where the checkpoints go.
    evaluate: held-out evaluation.
    batch_size: sequences of a global batch.
    flops_per_step: training FLOPs of one step of a stage.
    log_interval_steps: steps a line of metrics.
    checkpoint_interval_steps: steps a checkpoint, a multiple of the former.
    eval_interval_steps: steps a held-out evaluation beside those at growths and
      at the end, at the next line of metrics; 0 makes none.
    config_text: shown in TensorBoard.
    ledger: what earlier sessions of this run spent on what.
    saved_path: the checkpoint that the session goes on from.
    wall_seconds: what earlier sessions of this run took.
    train_flops: what earlier sessions of this run took.
    clock: monotonic seconds.
    should_stop: asked after every execution and growth; once it says so, the
      run saves and `fit` ends.
    before_save: called before anything of a checkpoint is written, and may
      raise.

  Attributes:
    saved_path: the newest checkpoint of the run; None if there is none.
  """

  def __init__(self, directory: RunDirectory, checkpoints: RunCheckpoints,
               evaluate: HeldOutEvaluation, *, batch_size: int,
               flops_per_step: Callable[[ResolvedStage], float],
               log_interval_steps: int, checkpoint_interval_steps: int,
               config_text: str, eval_interval_steps: int = 0,
               ledger: TimeLedger | None = None,
               saved_path: str | None = None,
               wall_seconds: float = 0.0, train_flops: float = 0.0,
               clock: Callable[[], float] = time.monotonic,
               should_stop: Callable[[], bool] = lambda: False,
               before_save: Callable[[], None] = lambda: None):
    super().__init__()
    self._directory = directory
    self._checkpoints = checkpoints
    self._evaluate = evaluate
    self._batch_size = batch_size
    self._flops_per_step = flops_per_step
    self._log_interval_steps = log_interval_steps
    self._checkpoint_interval_steps = checkpoint_interval_steps
    self._eval_interval_steps = eval_interval_steps
    self._config_text = config_text
    self._ledger = ledger or TimeLedger()
    self._clock = clock
    self._session_start = clock() - wall_seconds
    self._train_flops = train_flops
    self._should_stop = should_stop
    self._before_save = before_save
    self.saved_path = saved_path
    self._supports_tf_logs = True
    self._growth = None
    self._logged_step = self._saved_step = self._evaluated_step = 0
    # An interval that an earlier session began is timed from here on.
    self._timed_from_step = 0
    self._interval_start = self._interval_processor_start = 0.0
    self._interval_state = []
    self._loss_before = None
    self._counted_tracing = progressive_growth.FirstExecutions()
    self._counted_profiling = 0.0
    self._bar = None
    self._writers = {}

  def watch(self, model: tf_keras.Model,
            growth: progressive_growth.ProgressiveGrowth) -> None:
    """Records this model, which this callback grows."""
    self.set_model(model)
    self._growth = growth
    growth.observer = self

  def on_train_begin(self, logs=None):
    del logs
    step = self._growth.step
    self._saved_step = self._timed_from_step = step
    self._logged_step = self._newest_recorded_step(
        'train', self._log_interval_steps, step)
    # Only a line of metrics brings an evaluation.
    self._evaluated_step = self._newest_recorded_step(
        'eval', self._eval_interval_steps, self._logged_step)
    # Keras resets the metrics before the first epoch. A run that was told to
    # stop is in the middle of an interval, whose sums it has saved.
    self._interval_state = [
        (variable, variable.numpy()) for variable in self._interval_variables()]
    self._bar = tqdm.tqdm(
        total=self._growth.stages[-1].end_step, initial=step, unit='step',
        dynamic_ncols=True,
        disable=not (self._directory.is_chief and sys.stderr.isatty()))
    if self._directory.is_chief:
      self._writers = {
          split: tf.summary.create_file_writer(self._directory.file(split))
          for split in ('train', 'eval')}
      with self._writers['train'].as_default(step=step):
        tf.summary.text('config', f'```\n{self._config_text}\n```')
    if self.saved_path is None:
      # So that a fault in the first interval finds something to go back to.
      self._save()

  def on_epoch_begin(self, epoch, logs=None):
    del epoch, logs
    for variable, value in self._interval_state:
      variable.assign(value)
    self._interval_state = []
    self._begin_interval()

  def on_train_batch_end(self, batch, logs=None):
    del batch, logs
    step = self._growth.step
    self._bar.update(step - self._bar.n)
    if _is_due(step, self._logged_step, self._log_interval_steps):
      self._log_training()
      # The end of the run is evaluated by `final_evaluation`.
      if step < self._growth.stages[-1].end_step and _is_due(
          step, self._evaluated_step, self._eval_interval_steps):
        self._log_evaluation('interval')
      if _is_due(step, self._saved_step, self._checkpoint_interval_steps):
        self._save()
      self._begin_interval()
    if self._should_stop():
      self.model.stop_training = True

  def on_train_end(self, logs=None):
    del logs
    step = self._growth.step
    if step > self._logged_step:
      if step < self._growth.stages[-1].end_step:
        # The line of this interval is written by the session that ends it.
        self._charge_interval()
      else:
        self._log_training()
    if step > self._saved_step:
      self._save()

  def final_evaluation(self, most_frequent_token_accuracy: float
                       ) -> dict[str, float]:
    """Held-out metrics at the end of the run, made and recorded once.

    Args:
      most_frequent_token_accuracy: recorded beside the model's own accuracy.
    """
    for record in self._directory.records(run_directory.METRICS_FILE):
      if record.get('moment') == 'end':
        return {name: value for name, value in record.items()
                if isinstance(value, float)}
    metrics = self._log_evaluation(
        'end', most_frequent_token_accuracy=most_frequent_token_accuracy)
    self._warn_of_plateau(metrics)
    return metrics

  def close(self) -> None:
    """Ends the progress bar and flushes TensorBoard."""
    if self._bar is not None:
      self._bar.close()
    for writer in self._writers.values():
      # Every line has been flushed. After a failed write this one fails as well,
      # and must not hide the first.
      with contextlib.suppress(tf.errors.OpError):
        writer.close()
    self._writers = {}

  def before_growth(self, step: int) -> None:
    stage = self._growth.ending_stage
    if step > self._logged_step:
      self._log_training(stage)
    metrics = self._log_evaluation('before_growth', stage)
    self._loss_before = metrics['loss']
    self._warn_of_plateau(metrics)

  def after_growth(self, step: int, record: dict[str, Any]) -> None:
    self._ledger.add('growth', record['seconds'])
    loss_after = self._log_evaluation('after_growth')['loss']
    record.update(loss_before=self._loss_before, loss_after=loss_after)
    self._directory.append(run_directory.GROWTH_FILE, record)
    changes = ', '.join(record['operators']) or 'nothing changes'
    what = (f'grew ({changes})' if record['from'] != record['to']
            else f'stage {self._growth.stage.name!r} begins ({changes})')
    self._say(
        f'step {step}: {what} in {record["seconds"]:.1f} s; held-out loss '
        f'{self._loss_before:.4f} -> {loss_after:.4f}')
    self._save()
    self._begin_interval()

  def _warn_of_plateau(self, metrics: dict[str, float]) -> None:
    warning = plateau.warning(metrics, self._evaluate.unigram)
    if warning:
      self._say(f'warning: {warning}')

  def _log_training(self, stage=None) -> None:
    stage = stage or self._growth.stage
    step = self._growth.step
    # Reading the metrics waits for the device: the clock comes after.
    metrics = {metric.name: float(metric.result())
               for metric in self.model.metrics}
    learning_rate = self._growth.learning_rate()
    bad_step = self.model.non_finite_watch.first_step
    if bad_step or not math.isfinite(metrics['loss']):
      raise NonFiniteLossError(self._non_finite_message(
          'the loss is not finite since', self._logged_step + (bad_step or 1)))
    self.model.reset_metrics()
    self._train_flops += (
        step - self._logged_step) * self._flops_per_step(stage)
    speed = self._charge_interval(stage)
    record = self._position(stage) | {'split': 'train'} | metrics | {
        'learning_rate': learning_rate} | speed
    self._write(record)
    self._bar.set_postfix_str(
        f'{stage.name} loss {metrics["loss"]:.3f} '
        f'{record["tokens_per_second"] or 0:,.0f} tokens/s')
    if self._bar.disable:
      self._say(self._line(record))
    self._logged_step = step
    self._begin_interval()

  def _begin_interval(self) -> None:
    self._interval_start = self._clock()
    self._interval_processor_start = time.process_time()
    self._timed_from_step = self._growth.step
    self._counted_profiling = self._ledger['profiling']

  def _charge_interval(self, stage: ResolvedStage | None = None
                       ) -> dict[str, float | None]:
    """Adds the interval's time to the ledger; returns its speed."""
    seconds = (self._clock() - self._interval_start
               - (self._ledger['profiling'] - self._counted_profiling))
    steps = self._growth.step - self._timed_from_step
    speed = self._speed(stage or self._growth.stage, seconds, steps)
    # Of all threads; of an interval without tracing, which takes some as well.
    speed['step_processor_seconds'] = (
        (time.process_time() - self._interval_processor_start) / steps
        if steps > 0 and not speed['tracing_seconds'] else None)
    self._ledger.add('tracing', speed['tracing_seconds'])
    self._ledger.add('steps', seconds - speed['tracing_seconds'])
    return speed

  def _interval_variables(self) -> list[tf.Variable]:
    """What adds up over an interval, on the device; part of checkpoints."""
    return [*self.model.non_finite_watch.variables,
            *(variable for metric in self.model.metrics
              for variable in metric.variables)]

  def _newest_recorded_step(self, split: str, interval: int, newest: int
                            ) -> int:
    """The step of the newest line of metrics, `newest` at most; 0 for none."""
    steps = [record['step']
             for record in self._directory.records(run_directory.METRICS_FILE)
             if record['split'] == split and record['step'] <= self._growth.step]
    if steps:
      return steps[-1]
    # If one was due, the lines are lost, and what they counted is not known.
    return newest if _is_due(newest, 0, interval) else 0

  def _speed(self, stage: ResolvedStage, seconds: float, steps: int
             ) -> dict[str, float | None]:
    """Step time and throughput of an interval, without what was tracing."""
    tracing = dataclasses.replace(self._growth.tracing)
    tracing_seconds = tracing.seconds - self._counted_tracing.seconds
    timed_steps = steps - (tracing.steps - self._counted_tracing.steps)
    self._counted_tracing = tracing
    if timed_steps <= 0:
      return {'step_seconds': None, 'tokens_per_second': None,
              'tracing_seconds': tracing_seconds}
    step_seconds = (seconds - tracing_seconds) / timed_steps
    # Before any pooling.
    tokens = self._batch_size * stage.architecture.sequence_length
    return {'step_seconds': step_seconds,
            'tokens_per_second': tokens / step_seconds,
            'tracing_seconds': tracing_seconds}

  def _log_evaluation(self, moment: str, stage=None, **more: float
                      ) -> dict[str, float]:
    stage = stage or self._growth.stage
    with self._ledger.spending('evaluation'):
      metrics = self._evaluate() | more
    self._evaluated_step = self._growth.step
    self._write(
        self._position(stage) | {
            'split': 'eval', 'moment': moment,
            'eval_steps': self._evaluate.num_steps} | metrics)
    return metrics

  def _position(self, stage: ResolvedStage) -> dict[str, Any]:
    # Before the first growth of all there is only what the run starts from.
    return {'step': self._growth.step, 'stage': max(0, stage.index),
            'stage_name': stage.name,
            'wall_seconds': self._wall_seconds(),
            'spent_seconds': self._ledger.to_dict(),
            'train_flops': self._train_flops}

  def _write(self, record: dict[str, Any]) -> None:
    self._directory.append(run_directory.METRICS_FILE, record)
    writer = self._writers.get(record['split'])
    if writer is not None:
      with durable_files.naming_what_failed(
          self._directory.file(record['split']),
          'make room, or mend what is wrong, and give the same command again.'):
        with writer.as_default(step=record['step']):
          for name, value in record.items():
            if isinstance(value, float):
              tf.summary.scalar(name, value)
          writer.flush()

  def _save(self) -> None:
    # The loss of a step is that of the weights before it: it may be finite
    # although the step's own update has ruined them.
    if not non_finite.all_finite(self.model.trainable_variables):
      raise NonFiniteLossError(self._non_finite_message(
          'the weights are not finite after', self._growth.step))
    self._before_save()
    with self._ledger.spending('checkpoints'):
      self.saved_path = self._checkpoints.save(
          self.model, step=self._growth.step,
          stage_index=self._growth.stage.index, progress=self._progress)
    self._saved_step = self._growth.step

  def _progress(self) -> dict[str, Any]:
    """What the sessions so far took, up to a checkpoint."""
    return {'wall_seconds': self._wall_seconds(),
            'spent_seconds': self._ledger.to_dict()}

  def _wall_seconds(self) -> float:
    return round(self._clock() - self._session_start, 3)

  def _line(self, record: dict[str, Any]) -> str:
    total = self._growth.stages[-1].end_step
    line = (f'step {record["step"]}/{total} {record["stage_name"]} '
            f'loss {record["loss"]:.4f} '
            f'accuracy {accuracy(record):.4f}')
    if record['step_seconds'] is None:
      return line
    left = (total - record['step']) * record['step_seconds']
    return (f'{line} {record["tokens_per_second"]:,.0f} tokens/s, '
            f'{left:.0f} s left at this pace')

  def _say(self, line: str) -> None:
    if self._directory.is_chief:
      tqdm.tqdm.write(line, file=sys.stderr)

  def _non_finite_message(self, what: str, step: int) -> str:
    return (
        f'{what} step {step}; the newest checkpoint, of step '
        f'{self._saved_step}, is from before. Lower peak_learning_rate or '
        'gradient_clip_norm and run again to go on from there.')


def accuracy(record: dict[str, Any]) -> float:
  """The share of the predicted tokens that were right, whatever the model."""
  return record.get('masked_lm_accuracy', record.get('causal_lm_accuracy'))


def _is_due(step: int, last: int, interval: int) -> bool:
  """Whether a multiple of `interval` lies after `last`, up to `step`."""
  return bool(interval) and step // interval > last // interval
