"""From a finished run directory to its line in the results."""

from collections.abc import Mapping
import dataclasses
import importlib.metadata
import pathlib
import platform
import statistics
import subprocess
from typing import Any

from benchmarks.study.arms import Arm
from benchmarks.study.results import digest
from benchmarks.study.results import Record
from official_ext.analysis import flops
from official_ext.training.run_config import PretrainConfig

# What changes neither the weights nor what is reported of a run.
_WITHOUT_EFFECT = frozenset({
    'model_dir', 'data_dir', 'stage_data_dirs', 'seed', 'log_interval_steps',
    'checkpoint_interval_steps', 'max_checkpoints_to_keep', 'profile_steps',
    'steps_per_execution'})


def settings(config: PretrainConfig) -> dict[str, str]:
  """What an arm sets, as field name to text.

  Fields at their default are left out, also of the architecture and of the
  stages, so a field that is added later does not make old results look
  different.
  """
  chosen = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if field.name in _WITHOUT_EFFECT or value == field.default:
      continue
    if dataclasses.is_dataclass(value):
      value = digest(_chosen(value))
    chosen[field.name] = str(value)
  return chosen


def _chosen(value: Any) -> Any:
  """As JSON, what of a dataclass, at any depth, is not its default."""
  if isinstance(value, (list, tuple)):
    return [_chosen(each) for each in value]
  if not dataclasses.is_dataclass(value):
    return value
  return {field.name: _chosen(getattr(value, field.name))
          for field in dataclasses.fields(value)
          if getattr(value, field.name) != field.default}


def extract(arm: Arm, seed: int, config: PretrainConfig, run_dir: pathlib.Path,
            data: str, code: Mapping[str, Any]) -> Record:
  """Summarises a finished run.

  Args:
    arm: the arm.
    seed: the seed of the run.
    config: what was run.
    run_dir: its run directory.
    data: hash of the data.
    code: `code_version()` of the runner.

  Returns:
    `curve`: `[step, training FLOPs, processor seconds, loss, accuracy]` of each
    held-out evaluation; the seconds are those of the training steps alone, each
    stage's steps at their median. `growths`: step, what grew, held-out loss
    before and after, and the largest change of a logit by the weights.

  Raises:
    ValueError: the run is not finished.
  """
  # TensorFlow, which the runner otherwise does without.
  from official_ext.analysis.run_summary import read_run
  summary = read_run(str(run_dir))
  if not summary.held_out or summary.held_out[-1].get('moment') != 'end':
    raise ValueError(f'{run_dir} has no final evaluation; the run is unfinished')
  seconds = [_median_seconds(summary.train, stage) for stage in summary.stages]

  def processor_seconds(step: int) -> float:
    return sum(
        max(0, min(step, stage.end_step) - stage.start_step) * each
        for stage, each in zip(summary.stages, seconds))

  curve = [
      [point['step'], float(f'{point["train_flops"]:.6g}'),
       round(processor_seconds(point['step']), 1), round(point['loss'], 5),
       round(point[summary.accuracy_metric], 5)]
      for point in summary.held_out if point['moment'] != 'after_growth']
  length = config.architecture.max_positions
  return {
      'arm': arm.name,
      'seed': seed,
      'settings': settings(config),
      'data': data,
      'parameters': flops.parameter_count(
          config.architecture, has_next_sentence=config.use_next_sentence),
      'tokens': sum(
          stage.num_steps * config.batch_size
          * min(length, stage.architecture.sequence_length)
          for stage in summary.stages),
      'final_loss': curve[-1][3],
      'final_accuracy': curve[-1][4],
      'curve': curve,
      'growths': [
          {'step': growth['step'], 'operators': growth['operators'],
           'loss_before': round(growth['loss_before'], 5),
           'loss_after': round(growth['loss_after'], 5),
           'max_logit_difference': float(
               f'{growth["max_logit_difference"]:.2g}')}
          for growth in summary.growths],
      'stages': [
          {'name': stage.name, 'steps': stage.num_steps,
           'flops_per_step': stage.flops_per_step,
           'processor_seconds_per_step': round(each, 5)}
          for stage, each in zip(summary.stages, seconds)],
      'code': dict(code),
      'machine': _machine(),
  }


def _median_seconds(train, stage) -> float:
  """Median processor seconds of a step of a stage."""
  measured = [
      line['step_processor_seconds'] for line in train
      if stage.start_step < line['step'] <= stage.end_step
      and line.get('step_processor_seconds') is not None]
  if not measured:
    raise ValueError(
        f'stage {stage.name!r} has no line of metrics without tracing; choose a '
        'shorter LOG_INTERVAL_STEPS')
  return statistics.median(measured)


def code_version() -> dict[str, Any]:
  """The commit that runs, and whether files differ from it."""
  def git(*arguments: str) -> str:
    return subprocess.run(
        ('git', *arguments), cwd=pathlib.Path(__file__).parent, check=True,
        capture_output=True, text=True).stdout.strip()
  try:
    commit = git('rev-parse', '--short=12', 'HEAD')
    changed = [line for line in git('status', '--porcelain').splitlines()
               if not line.endswith('results.json')]
    return {'commit': commit, 'modified': bool(changed)}
  except (OSError, subprocess.CalledProcessError):
    return {'commit': 'unknown', 'modified': True}


def _machine() -> dict[str, str]:
  processor = platform.processor() or platform.machine()
  try:
    for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines():
      if line.startswith('model name'):
        processor = line.split(':', 1)[1].strip()
        break
  except OSError:
    pass
  return {'processor': processor,
          'tensorflow': importlib.metadata.version('tensorflow')}
