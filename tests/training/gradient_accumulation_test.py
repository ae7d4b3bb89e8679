"""Runs whose steps are made of micro-batches."""

import dataclasses
import functools
import json
import signal

import pytest

from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from official_ext.training.pretrain import pretrain
from tests.training import killed_run
from tests.training import run_comparison
from tests.training import tiny_run
from tests.training.forked_process import ForkedProcesses

# Growths at steps 2 and 4.
_CHANGES = dict(
    schedule=GrowthSchedule((
        Stage('half', steps=2, depth=0.5, ffn_sharing=2, query_pool_size=2),
        Stage('shared', steps=2, ffn_sharing=2), Stage('full', steps=2))),
    num_steps=6, gradient_accumulation_steps=2)


def test_a_run_that_is_killed_between_and_in_growths_ends_bit_identical(
    tmp_path):
  tiny_run.config(tmp_path)  # Writes the data once.
  processes = ForkedProcesses()

  def run(name, moment, step=0):
    process = processes.start(
        tmp_path / 'log', functools.partial(killed_run.run, **_CHANGES),
        str(tmp_path), name, moment, step)
    process.join()
    return process.exitcode, (tmp_path / 'log').read_text()

  code, said = run('undisturbed', 'never')
  assert code == 0, said
  for moment, step in (('step', 3), ('growing', 4)):
    code, said = run('disturbed', moment, step)
    assert code == -signal.SIGKILL, said
  code, said = run('disturbed', 'never')
  assert code == 0, said
  assert said.count("resuming at step 2, stage 'shared'") == 2
  assert run_comparison.assert_same(
      tmp_path / 'disturbed', tmp_path / 'undisturbed') > 100


def _config(tmp_path, num_parts):
  return tiny_run.config(
      tmp_path, architecture=tiny_run.ARCHITECTURE.replace(num_layers=1),
      schedule=GrowthSchedule((Stage('full', steps=3),)), num_steps=3,
      model_dir=str(tmp_path / f'run{num_parts}'), output_dropout=0.0,
      attention_dropout=0.0, gradient_accumulation_steps=num_parts)


def test_a_run_without_dropout_is_that_of_whole_batches(tmp_path):
  lines = {}
  for num_parts in (1, 4):
    config = _config(tmp_path, num_parts)
    result = pretrain(config, config_text='', flops_per_step=lambda *_: 1.0)
    lines[num_parts] = [
        json.loads(line) for line in
        (tmp_path / f'run{num_parts}/metrics.jsonl').read_text().splitlines()]
    lines[num_parts].append(result.metrics)
  assert len(lines[4]) == len(lines[1])
  for whole, parts in zip(lines[1], lines[4]):
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
      if isinstance(value, float) and name not in run_comparison.CLOCKED:
        assert parts[name] == pytest.approx(value, rel=1e-4), name
  # Rounding and masks would change in the middle of the run.
  with pytest.raises(ValueError, match=(
      'differs: optimizer.gradient_accumulation_steps was 4, is 2. Take')):
    pretrain(dataclasses.replace(config, gradient_accumulation_steps=2),
             config_text='', flops_per_step=lambda *_: 1.0)
  # As in runs that began before there were micro-batches.
  schedule = json.loads((tmp_path / 'run1/schedule.json').read_text())
  assert 'gradient_accumulation_steps' not in schedule['optimizer']
