"""Traces a few steps of every stage with the TensorFlow Profiler."""

import math
import time

import tensorflow as tf
import tf_keras

from official_ext.schedules import ResolvedStage
from official_ext.training import run_directory
from official_ext.training.progressive_growth import ProgressiveGrowth
from official_ext.training.run_directory import RunDirectory
from official_ext.training.time_ledger import TimeLedger

# Executions that a stage has run before it is traced: the first one traces and
# compiles the graph, the next ones still fill caches and input queues.
_WARM_UP_EXECUTIONS = 10


class StepProfiler(tf_keras.callbacks.Callback):
  """Writes one trace a stage, of whole steps, to `profile/` of a run.

  The steps carry the markers that Keras' `fit` sets (`train`, `step_num`),
  without which the profiler's tools cannot tell them apart. A trace holds only
  markers that began and ended in it, so it starts at the end of one step and
  stops at the beginning of another.

  Each trace is a line of `profile.jsonl`: `step`, the step after which it
  starts; `stage`, `stage_name`; `directory`, below the run's; `steps`;
  `steps_per_marker`, which is `steps_per_execution`; and `seconds`, the wall
  clock of the same steps.

  Args:
    directory: the run's.
    growth: knows the step and the stage.
    ledger: is charged with what starting and writing takes.
    num_steps: steps to trace in each stage; 0 traces nothing.
    steps_per_execution: as the model is compiled with.
    log_interval_steps: metrics, evaluations and checkpoints come at multiples of
      it and inside Keras' markers, so these steps are avoided.
  """

  def __init__(self, directory: RunDirectory, growth: ProgressiveGrowth,
               ledger: TimeLedger, *, num_steps: int,
               steps_per_execution: int = 1,
               log_interval_steps: int = 0):
    super().__init__()
    self._directory = directory
    self._growth = growth
    self._ledger = ledger
    self._num_steps = num_steps if directory.is_chief else 0
    self._steps_per_execution = steps_per_execution
    self._log_interval_steps = log_interval_steps
    self._supports_tf_logs = True
    self._stage_index = None
    self._window = None
    self._trace = None
    self._start_seconds = 0.0

  def on_train_begin(self, logs=None):
    del logs
    self._plan(self._growth.step)

  def on_train_batch_begin(self, batch, logs=None):
    del batch, logs
    if self._trace and self._growth.step >= self._window[1]:
      self._stop()

  def on_train_batch_end(self, batch, logs=None):
    del batch, logs
    if not self._num_steps:
      return
    step = self._growth.step
    if self._growth.stage.index != self._stage_index:
      self._plan(step)
    if self._window and not self._trace and step >= self._window[0]:
      self._start(step)

  def on_train_end(self, logs=None):
    del logs
    self.close()

  def close(self) -> None:
    """Drops a trace that is not complete."""
    if self._trace:
      self._trace = None
      tf.profiler.experimental.stop(save=False)

  def _plan(self, step: int) -> None:
    stage = self._growth.stage
    self._stage_index = stage.index
    self._window = self._num_steps and traced_steps(
        stage, step, self._num_steps, self._steps_per_execution,
        self._log_interval_steps)

  def _start(self, step: int) -> None:
    stage = self._growth.stage
    name = f'{run_directory.PROFILE_DIR}/stage_{stage.index}_step_{step}'
    path = self._directory.file(name)
    with self._ledger.spending('profiling'):
      # Of a session that was killed; these steps are done again, and a reader
      # could tell the two apart by the wall clock only.
      if tf.io.gfile.exists(path):
        tf.io.gfile.rmtree(path)
      self._wait_for_device()
      try:
        tf.profiler.experimental.start(path)
      except tf.errors.AlreadyExistsError:
        # Somebody watches this process already; their trace is theirs.
        self._window = None
        return
    # The planned window, from the step at which executions really end.
    self._window = (step, step + self._window[1] - self._window[0])
    self._trace = {
        'step': step, 'stage': stage.index, 'stage_name': stage.name,
        'directory': name, 'steps_per_marker': self._steps_per_execution}
    self._start_seconds = time.monotonic()

  def _stop(self) -> None:
    self._wait_for_device()
    trace, self._trace, self._window = self._trace, None, None
    trace['steps'] = self._growth.step - trace['step']
    trace['seconds'] = time.monotonic() - self._start_seconds
    with self._ledger.spending('profiling'):
      tf.profiler.experimental.stop()
    self._directory.append(run_directory.PROFILE_FILE, trace)

  def _wait_for_device(self) -> None:
    # Steps are only queued on an accelerator; reading what they write waits.
    self.model.optimizer.iterations.numpy()


def traced_steps(stage: ResolvedStage, step: int, num_steps: int,
                 steps_per_execution: int = 1,
                 log_interval_steps: int = 0) -> tuple[int, int] | None:
  """Which steps of a stage to trace: after the first number, to the second.

  Args:
    stage: the stage.
    step: where the stage begins or is taken up again.
    num_steps: steps wanted, rounded up to whole executions.
    steps_per_execution: steps of one execution, which has one marker.
    log_interval_steps: the traced steps lie between two multiples of it if they
      can; 0 if none disturb.

  Returns:
    The steps, fewer than wanted in a short stage; None if the stage has no room
    for even one execution. The last execution of a stage is left out: the growth
    is part of it.
  """
  executions = (stage.end_step - 1 - step) // steps_per_execution
  traced = math.ceil(num_steps / steps_per_execution)
  traced = min(traced, executions - 1)
  if traced < 1:
    return None
  latest = executions - traced
  earliest = min(_WARM_UP_EXECUTIONS, latest)
  windows = [
      (step + first * steps_per_execution,
       step + (first + traced) * steps_per_execution)
      for first in range(earliest, min(latest, earliest + 2 * traced) + 1)]
  interval = log_interval_steps
  undisturbed = [
      (start, stop) for start, stop in windows
      if not interval or start // interval == stop // interval]
  return (undisturbed or windows)[0]
