"""Pre-trains a model through all the stages of a growth schedule.

The same command resumes a run that was stopped, at the step and in the stage
of its newest sound checkpoint.

SIGTERM or Ctrl-C: the step that is running is ended, a checkpoint is saved, and
the exit code is 75 (of 0 done, 1 failed, 2 yours to mend); a second one ends
the process at once, with 143 or 130.

With TF_CONFIG in the environment, the same command on every worker is one run
on all of them. If a worker is lost the others end, with 76.
"""

import sys

from absl import flags

from official_ext.command import run_command
from official_ext.command import STOPPED_EXIT_CODE

_GIN_FILE = flags.DEFINE_multi_string(
    'gin_file', [], 'Configuration files, in order; the last one wins. Looked '
    'for here, then among the files that come with the package.')
_GIN_PARAMS = flags.DEFINE_multi_string(
    'gin_params', [], "Single settings that override the files, such as "
    "'train.num_steps = 1000'.")
_MODEL_DIR = flags.DEFINE_string(
    'model_dir', None, 'Directory of the run: checkpoints, metrics, report.')
_DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Directory that `official_ext.prepare` wrote.')
_TPU = flags.DEFINE_string(
    'tpu', None, "Name or address of the TPU, or 'local' on a single TPU VM.")


def main() -> None:
  """Validates, trains, reports."""
  # Imported here so that --help and configuration mistakes come at once.
  from official_ext import configuration
  from official_ext.training.cluster import read_cluster

  config, config_text = configuration.load_config(
      _GIN_FILE.value, _GIN_PARAMS.value, model_dir=_MODEL_DIR.value,
      data_dir=_DATA_DIR.value, tpu=_TPU.value,
      has_workers=read_cluster() is not None)

  from official_ext.analysis import flops
  from official_ext.analysis import report
  from official_ext.training import run_recorder
  from official_ext.training.pretrain import pretrain
  from official_ext.training.pretrain import RunStoppedError
  from official_ext.training.stop_signals import StopSignals

  def flops_per_step(stage, num_predictions):
    return flops.stage_train_flops(
        stage, num_predictions, config.batch_size,
        has_next_sentence=config.use_next_sentence)

  with StopSignals() as signals:
    try:
      result = pretrain(
          config, config_text=config_text, flops_per_step=flops_per_step,
          should_stop=lambda: signals.requested)
    except RunStoppedError as stopped:
      print(f'{signals.name or "another worker"}: {stopped}', file=sys.stderr)
      sys.exit(STOPPED_EXIT_CODE)
  if not result.is_chief:
    print(f'done after {result.step} steps; worker 0 wrote the run directory')
    return
  print(f'held-out loss {result.metrics["loss"]:.4f}, '
        f'accuracy {run_recorder.accuracy(result.metrics):.4f} '
        '(always guessing the most frequent token: '
        f'{result.metrics["most_frequent_token_accuracy"]:.4f}) after {result.step} steps')
  print(f'report: {report.write_report(config.model_dir)}')


if __name__ == '__main__':
  run_command(main)
