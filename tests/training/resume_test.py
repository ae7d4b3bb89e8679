"""A run that is killed, or told to stop, ends as one that never was, to the bit."""

import json
import signal

import pytest

from official_ext.command import STOPPED_EXIT_CODE
from tests.training import killed_run
from tests.training import run_comparison
from tests.training import tiny_run
from tests.training.forked_process import ForkedProcesses

# A growth is at step 4, the end at step 9. With a line of metrics and a
# checkpoint every 2 steps, and an evaluation every 3, these end before there is
# any line of metrics (whose FLOPs were once counted from there), before a boundary,
# when an evaluation waits for its line (and was once left out), in a growth,
# between it and its checkpoint, and in the middle of an interval.
DEATHS = (('told', 1), ('step', 3), ('told', 3), ('growing', 4), ('saving', 4),
          ('told', 5))


@pytest.fixture(scope='module')
def processes():
  return ForkedProcesses()


def test_disturbed_run_ends_bit_identical(tmp_path, processes):
  tiny_run.config(tmp_path)  # Writes the data once.

  def run(name, moment, step=0):
    process = processes.start(
        tmp_path / 'log', killed_run.run, str(tmp_path), name, moment, step)
    process.join()
    return process.exitcode, (tmp_path / 'log').read_text()

  code, said = run('undisturbed', 'never')
  assert code == 0, said
  for moment, step in DEATHS:
    code, said = run('disturbed', moment, step)
    expected = STOPPED_EXIT_CODE if moment == 'told' else -signal.SIGKILL
    assert code == expected, said
  path = tmp_path / 'disturbed/checkpoints/ckpt-5'
  assert said.endswith(
      f'stopped after step 5 of 9; {path} is saved, and the same command goes '
      'on from there.\n')
  code, said = run('disturbed', 'never')
  assert code == 0, said
  assert f"resuming at step 5, stage 'full', from {path}" in said
  assert run_comparison.assert_same(
      tmp_path / 'disturbed', tmp_path / 'undisturbed') > 100
  assert_time_is_kept(tmp_path / 'disturbed')


def assert_time_is_kept(run_dir):
  # The sessions' seconds add up, and no line has less than the line before.
  lines = [json.loads(line) for line in
           (run_dir / 'metrics.jsonl').read_text().splitlines()]
  for before, after in zip(lines, lines[1:]):
    assert after['wall_seconds'] >= before['wall_seconds']
    for kind, seconds in before['spent_seconds'].items():
      assert after['spent_seconds'][kind] >= seconds
  assert sum(lines[-1]['spent_seconds'].values()) <= lines[-1]['wall_seconds']
