"""The command `compare`, on two runs that were really trained and traced."""

import json
import subprocess
import sys
import time

import pytest

from official_ext.analysis import flops
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import scratch
from official_ext.schedules import Stage
from official_ext.training.pretrain import pretrain
from tests.forked_command import run_command
from tests.training import tiny_run

GROWN = GrowthSchedule((Stage('half', steps=16, depth=0.5),
                        Stage('full', steps=16)))


def run_compare(*arguments):
  return subprocess.run(
      [sys.executable, '-m', 'official_ext.compare', *map(str, arguments)],
      capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  path = tmp_path_factory.mktemp('runs')
  for name, schedule in (('scratch', scratch()), ('grown', GROWN)):
    config = tiny_run.config(
        path, schedule=schedule, num_steps=32, model_dir=str(path / name),
        architecture=tiny_run.ARCHITECTURE.replace(
            num_layers=2, hidden_size=64, inner_size=256),
        batch_size=16, log_interval_steps=4, checkpoint_interval_steps=32,
        eval_interval_steps=4, profile_steps=3, deterministic=False)
    pretrain(config, config_text='', flops_per_step=(
        lambda stage, predictions: flops.stage_train_flops(
            stage, predictions, 16)))
  return path


def test_page_of_two_real_runs(runs):
  out = runs / 'out'
  result = run_compare(runs / 'scratch', runs / 'grown', '--output_dir', out,
                       '--loss=3.6')
  assert result.returncode == 0, result.stderr
  assert result.stderr == ''
  first, last = result.stdout.splitlines()
  assert first.startswith('grown over scratch: +')
  assert last == f'comparison: {out}/comparison.html'
  values = json.loads((out / 'comparison.json').read_text())
  # Eight evaluations, and one more around the growth.
  assert [len(run['held_out']) for run in values['runs']] == [8, 9]
  for run in values['runs']:
    assert 0 < run['spent_seconds']['steps'] < 300
    for stage in run['stages']:
      assert stage['num_traced_steps'] == 3
      assert 0 < stage['median_seconds'] <= stage['p90_seconds']
      assert sum(stage['shares'].values()) == pytest.approx(1)
      # The markers leave out only what Keras does between steps, which counts
      # where steps take milliseconds.
      assert 0.7 < stage['mean_seconds'] / stage['wall_seconds'] <= 1.0
  assert values['runs'][1]['spent_seconds']['growth'] > 0
  assert (out / 'comparison.html').stat().st_size > 100_000


def test_runs_that_differ_are_refused_in_lines(runs, tmp_path):
  schedule = json.loads((runs / 'scratch/schedule.json').read_text())
  other = tmp_path / 'other'
  other.mkdir()
  (other / 'schedule.json').write_text(json.dumps(schedule | {
      'batch_size': 8, 'num_predictions': 2}))
  result = run_command(tmp_path, 'official_ext.compare', str(runs / 'scratch'),
                       str(other), f'--output_dir={tmp_path}/out')
  assert result.returncode == 2
  assert result.stderr.splitlines() == [
      'error: 2 mistakes:',
      '  batch_size is 8 in other, but 16 in scratch (--force compares all the '
      'same)',
      '  num_predictions is 2 in other, but 3 in scratch (--force compares all '
      'the same)']
  assert not (tmp_path / 'out').exists()
  result = run_command(tmp_path, 'official_ext.compare', str(runs / 'scratch'),
                       str(other), f'--output_dir={tmp_path}/out', '--force')
  assert result.returncode == 0, result.stderr
  assert 'other over scratch: not known in FLOPs' in result.stdout


def test_help_comes_at_once():
  seconds = []
  for _ in range(3):
    start = time.monotonic()
    result = run_compare('--help')
    seconds.append(time.monotonic() - start)
  assert result.returncode == 0
  assert '-m official_ext.compare [flags] BASELINE RUN...' in result.stdout
  assert '--[no]force' in result.stdout
  assert min(seconds) < 2


def test_what_is_no_run_is_said_in_one_line(tmp_path):
  result = run_command(tmp_path, 'official_ext.compare', str(tmp_path),
                       str(tmp_path), f'--output_dir={tmp_path}/out')
  assert result.returncode == 2
  assert result.stderr.startswith(f'error: {tmp_path} holds no run')
  assert len(result.stderr.splitlines()) == 1
