"""Runs `pretrain` in a process that kills itself at a given moment.

Usage: killed_run.py TMP_PATH RUN_NAME MOMENT STEP
MOMENT is 'step' (after a step's execution), 'growing' (between the evaluation
before a growth and the growth itself), 'saving' (while a checkpoint is being
written) or 'never'.
"""

import os
import signal
import sys

from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from official_ext.training import run_recorder
from official_ext.training.checkpoints import RunCheckpoints
from official_ext.training.pretrain import pretrain
from tests.training import tiny_run

SCHEDULE = GrowthSchedule((
    Stage('half', steps=4, depth=0.5, ffn_sharing=2, query_pool_size=2),
    Stage('deep', steps=3, ffn_sharing=2, query_pool_size=2),
    Stage('full', steps=5)))


def kill_when(moment: str, step: int) -> None:
  """Replaces one method by one that kills the process first, or half way."""
  def dying(original, position, after):
    def method(self, *args, **kwargs):
      due = position(self, *args, **kwargs) == step
      if due and not after:
        os.kill(os.getpid(), signal.SIGKILL)
      result = original(self, *args, **kwargs)
      if due:
        os.kill(os.getpid(), signal.SIGKILL)
      return result
    return method

  recorder = run_recorder.RunRecorder
  if moment == 'step':
    recorder.on_train_batch_end = dying(
        recorder.on_train_batch_end,
        lambda self, *args, **kwargs: self._growth.step, after=False)
  elif moment == 'growing':
    recorder.before_growth = dying(
        recorder.before_growth, lambda self, step: step, after=True)
  elif moment == 'saving':
    RunCheckpoints.save = dying(
        RunCheckpoints.save,
        lambda self, model, step, stage_index: step, after=False)


def main(tmp_path: str, run_name: str, moment: str, step: str) -> None:
  kill_when(moment, int(step))
  config = tiny_run.config(
      tmp_path, num_steps=12, schedule=SCHEDULE,
      architecture=tiny_run.ARCHITECTURE.replace(num_layers=2),
      model_dir=os.path.join(tmp_path, run_name),
      log_interval_steps=2, checkpoint_interval_steps=2,
      optimizer_growth='transfer')
  pretrain(config, config_text='', flops_per_step=lambda *_: 1.0)


if __name__ == '__main__':
  main(*sys.argv[1:])
