"""Runs `pretrain` in a process that is ended at a given moment.

A moment is 'step' (killed after a step's execution), 'growing' (killed between
the evaluation before a growth and the growth itself), 'saving' (killed when a
checkpoint's files are there but not its seal), 'told' (SIGTERM after a step's
execution) or 'never'.
"""

from collections.abc import Mapping
import os
import signal
import sys
import time
import types
from typing import Any

from official_ext.command import STOPPED_EXIT_CODE
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from official_ext.training import checkpoint_seal
from official_ext.training import run_recorder
from official_ext.training.pretrain import pretrain
from official_ext.training.pretrain import RunStoppedError
from official_ext.training.stop_signals import StopSignals
from tests.training import tiny_run

SCHEDULE = GrowthSchedule((
    Stage('half', steps=4, depth=0.5, ffn_sharing=2, query_pool_size=2),
    Stage('full', steps=5)))
NUM_STEPS = 9


def _end_at(owner, name: str, step: int, step_of, end, after=False) -> None:
  """Replaces a function by one that ends the process at a step."""
  original = getattr(owner, name)

  def function(*args, **kwargs):
    due = step_of(*args, **kwargs) == step
    if due and not after:
      end()
    result = original(*args, **kwargs)
    if due and after:
      end()
    return result

  setattr(owner, name, function)


def _end_when(moment: str, step: int, signals: StopSignals) -> None:
  def kill():
    os.kill(os.getpid(), signal.SIGKILL)

  def tell():
    os.kill(os.getpid(), signal.SIGTERM)
    while not signals.requested:
      time.sleep(0.01)

  recorder = run_recorder.RunRecorder
  if moment in ('step', 'told'):
    _end_at(recorder, 'on_train_batch_end', step,
            lambda self, *args, **kwargs: self._growth.step,
            kill if moment == 'step' else tell)
  elif moment == 'growing':
    _end_at(recorder, 'before_growth', step, lambda self, step: step, kill,
            after=True)
  elif moment == 'saving':
    _end_at(checkpoint_seal, 'write_seal', step,
            lambda prefix, progress: int(prefix.rsplit('-', 1)[1]), kill)


def run(tmp_path: str, run_name: str, moment: str, step: int,
        changes: Mapping[str, Any] = types.MappingProxyType({})) -> None:
  """As the command does it, with its exit code.

  Args:
    tmp_path: holds the data, and the run directory.
    run_name: of the run directory.
    moment: see above.
    step: of the moment.
    changes: fields of the configuration.
  """
  config = tiny_run.config(tmp_path, **{
      'num_steps': NUM_STEPS, 'schedule': SCHEDULE,
      'architecture': tiny_run.ARCHITECTURE.replace(num_layers=2),
      'model_dir': os.path.join(tmp_path, run_name),
      'log_interval_steps': 2, 'checkpoint_interval_steps': 2,
      'eval_interval_steps': 3, 'optimizer_growth': 'transfer', **changes})
  with StopSignals() as signals:
    _end_when(moment, step, signals)
    try:
      pretrain(config, config_text='', flops_per_step=lambda *_: 1.0,
               should_stop=lambda: signals.requested)
    except RunStoppedError as stopped:
      print(stopped, file=sys.stderr)
      sys.exit(STOPPED_EXIT_CODE)
