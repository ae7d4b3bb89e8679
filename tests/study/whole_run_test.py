"""The study's runner with real trainings, interrupted in between."""

import json
import os
import signal
import threading
import time

import pytest

from benchmarks.study import arms
from benchmarks.study import results
from benchmarks.study import runner
from tests.training import tiny_run

_NUM_STEPS = 400
_GIN = f'''
include 'runs/pretrain.gin'
include 'schedules/stack.gin'

model.num_layers = 4
model.hidden_size = 16
model.num_heads = 2
model.inner_size = 32
model.vocab_size = {tiny_run.VOCABULARY}
model.max_positions = {tiny_run.SEQUENCE_LENGTH}

NUM_STEPS = {_NUM_STEPS}
BATCH_SIZE = 4
NUM_PREDICTIONS = {tiny_run.PREDICTIONS}
EVAL_STEPS = 2
EVAL_INTERVAL_STEPS = 50
LOG_INTERVAL_STEPS = 10
CHECKPOINT_INTERVAL_STEPS = 50
train.use_next_sentence = False
train.profile_steps = 0
'''


@pytest.mark.slow
def test_an_arm_is_trained_stopped_and_recorded(tmp_path, monkeypatch):
  (tmp_path / 'arms/bert').mkdir(parents=True)
  (tmp_path / 'arms/bert/tiny.gin').write_text(_GIN)
  arm = arms.Arm('bert/tiny', 'tiny', ('table2',), 'bert/tiny', num_seeds=1)
  monkeypatch.setattr(arms, 'ROOT', tmp_path / 'arms')
  monkeypatch.setattr(arms, 'ARMS', {arm.name: arm})
  study = runner.Study(tmp_path / 'work', tmp_path / 'results.json')
  tiny_run.write_data(study.data_dir('bert'))
  run, = study.unfinished()
  metrics = run.directory / 'metrics.jsonl'

  def stop_when_training():
    deadline = time.monotonic() + 120
    while not run.step() and time.monotonic() < deadline:
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=stop_when_training).start()
  with pytest.raises(KeyboardInterrupt):
    runner.run_all(study, [run], num_processes=1, say=lambda _: None)
  assert 0 < run.step()

  failed = runner.run_all(
      study, study.unfinished(), num_processes=1, say=lambda _: None)
  assert not failed, run.log_file.read_text()
  assert not study.unfinished()
  entry, = results.read(study.results_path)
  held_out = [line for line in map(json.loads, metrics.read_text().splitlines())
              if line['split'] == 'eval' and line['moment'] != 'after_growth']
  assert [point[0] for point in entry['curve']] == [
      line['step'] for line in held_out]
  # Each once, at every interval, growth and the end, in spite of the stop.
  assert [point[0] for point in entry['curve']] == [
      50, 100, 120, 150, 200, 250, 280, 300, 350, 400]
  assert entry['final_loss'] == pytest.approx(held_out[-1]['loss'], abs=1e-5)
  assert entry['curve'][-1][1] == pytest.approx(run.flops, rel=1e-5)
  assert [growth['step'] for growth in entry['growths']] == [120, 280]
  assert entry['tokens'] == _NUM_STEPS * 4 * tiny_run.SEQUENCE_LENGTH
  seconds = [stage['processor_seconds_per_step'] for stage in entry['stages']]
  assert entry['curve'][-1][2] == pytest.approx(
      sum(steps * each for steps, each in zip((120, 160, 120), seconds)), abs=0.1)

  # `train` itself would go on with another rate, and have nothing to do.
  study.results_path.unlink()
  (tmp_path / 'arms/bert/tiny.gin').write_text(
      _GIN + 'PEAK_LEARNING_RATE = 1e-3\n')
  study = runner.Study(tmp_path / 'work', tmp_path / 'results.json')
  with pytest.raises(results.ResultsError, match='peak_learning_rate was'):
    study.unfinished()
