"""One run by the command, on one device, two replicas and two workers.

Also what becomes of it when a worker is killed, told to stop, or started with
something else. The agreement in small, for every run of the suite, is in
strategies_agree_test.py.
"""

import json
import os
import pathlib
import re
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.training import tiny_run
from tests.training import worker_processes

pytestmark = pytest.mark.slow

NUM_STEPS = 60
GIN = f"""
include 'runs/tiny.gin'
model.num_layers = 2
model.hidden_size = 16
model.num_heads = 2
model.inner_size = 32
model.vocab_size = {tiny_run.VOCABULARY}
model.max_positions = {tiny_run.SEQUENCE_LENGTH}
NUM_STEPS = {NUM_STEPS}
NUM_PREDICTIONS = {tiny_run.PREDICTIONS}
EVAL_STEPS = 1
PEAK_LEARNING_RATE = 5e-3
EVAL_INTERVAL_STEPS = 25
LOG_INTERVAL_STEPS = 1
CHECKPOINT_INTERVAL_STEPS = 5
OPTIMIZER_GROWTH = 'transfer'
train.output_dropout = 0.0
train.attention_dropout = 0.0
train.profile_steps = 2
train.schedule = @growth_schedule()
growth_schedule.stages = [@half/stage(), @draws/stage(), @full/stage()]
half/stage.name = 'half'
half/stage.steps = 20
half/stage.depth = 0.5
half/stage.ffn_sharing = 2
half/stage.query_pool_size = 2
draws/stage.name = 'draws'
draws/stage.steps = 20
draws/stage.ffn_sharing = 2
draws/stage.query_pool_size = 2
draws/stage.sub_model_layers = 1
full/stage.name = 'full'
full/stage.steps = 20
"""
# Time and its derivatives differ from run to run.
CLOCKED = {'wall_seconds', 'step_seconds', 'step_processor_seconds',
           'tokens_per_second',
           'tracing_seconds', 'seconds', 'spent_seconds'}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  path = tmp_path_factory.mktemp('several_workers')
  tiny_run.write_data(path / 'data')
  (path / 'run.gin').write_text(GIN)
  return path


def command(place, name, *more):
  return ['-m', 'official_ext.train', '--gin_file', place / 'run.gin',
          '--data_dir', place / 'data', '--model_dir', place / name, *more]


def records(place, name, file='metrics.jsonl'):
  lines = (place / name / file).read_text().splitlines()
  return [{key: value for key, value in json.loads(line).items()
           if key not in CLOCKED} for line in lines]


def tensors(place, name):
  reader = tf.train.load_checkpoint(
      tf.train.latest_checkpoint(place / name / 'checkpoints'))
  return {key: reader.get_tensor(key)
          for key in reader.get_variable_to_shape_map()
          if 'save_counter' not in key and 'OBJECT_GRAPH' not in key}


def wait_for_step(place, name, step, processes):
  metrics = place / name / 'metrics.jsonl'
  while not metrics.exists() or not any(
      record['step'] >= step for record in records(place, name)):
    for process in processes:
      if process.poll() is not None:
        pytest.fail(process.communicate()[0])
    time.sleep(0.1)


def temporary_folders():
  return {path for path in pathlib.Path('/tmp').glob('tmp*/not_chief')}


@pytest.fixture(scope='module')
def two_workers(place):
  before = temporary_folders()
  ended = worker_processes.run(command(place, 'two_workers'))
  for code, said in ended:
    assert code == 0, said
  assert temporary_folders() <= before
  return [said for _, said in ended]


def assert_same_run(place, name, other):
  """Equal to the bit, however often the runs were interrupted."""
  for file in ('metrics.jsonl', 'growth.jsonl'):
    assert records(place, name, file) == records(place, other, file)
  expected, actual = tensors(place, other), tensors(place, name)
  assert expected.keys() == actual.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(actual[key], value, err_msg=key)


def test_the_strategies_agree(place, two_workers):
  for name, more in (
      ('one_device', ()),
      ('two_replicas', ("train.strategy = 'mirrored'", 'train.num_replicas = 2'))):
    params = [word for setting in more for word in ('--gin_params', setting)]
    (code, said), = worker_processes.run(
        command(place, name, *params), num_workers=0)
    assert code == 0, said
  expected = records(place, 'one_device')
  losses = [record['loss'] for record in expected]
  assert sum(record['split'] == 'train' for record in expected) == NUM_STEPS
  # It learns: the figures are not those of a model that stands still.
  assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1
  for name in ('two_replicas', 'two_workers'):
    actual = records(place, name)
    assert [(record['step'], record['split']) for record in actual] == [
        (record['step'], record['split']) for record in expected]
    np.testing.assert_allclose(
        [record['loss'] for record in actual], losses, rtol=1e-5, err_msg=name)
    growths = records(place, name, 'growth.jsonl')
    assert [growth['step'] for growth in growths] == [20, 40]
    for growth, other in zip(growths, records(place, 'one_device', 'growth.jsonl')):
      assert growth['operators'] == other['operators'] != []
      # Measured on each strategy by itself; new layers do change the logits.
      assert growth['max_logit_difference'] == pytest.approx(
          other['max_logit_difference'], rel=1e-4, abs=1e-6)


def test_only_the_chief_writes(place, two_workers):
  chief, other = two_workers
  assert 'report: ' in chief and 'loss ' in chief and 'loss ' not in other
  assert f'done after {NUM_STEPS} steps; worker 0 wrote the run directory' in other
  run = place / 'two_workers'
  assert "train.strategy = 'multi_worker'" in (run / 'config.gin').read_text()
  assert (run / 'report.html').exists()
  assert [record['stage'] for record in records(
      place, 'two_workers', 'profile.jsonl')] == [0, 1, 2]
  for split in ('train', 'eval'):
    assert len(list((run / split).iterdir())) == 1


@pytest.mark.parametrize('victim', [0, 1])
def test_a_killed_worker_ends_the_other_and_both_come_back(
    place, two_workers, victim):
  del two_workers
  name = f'killed_{victim}'
  addresses = worker_processes.free_addresses(2)
  with worker_processes.started(
      command(place, name), addresses=addresses) as processes:
    # In the second stage, and between two checkpoints.
    wait_for_step(place, name, 27, processes)
    processes[victim].kill()
    killed = time.monotonic()
    other = processes[1 - victim]
    said, _ = other.communicate(timeout=60)
    assert time.monotonic() - killed < 60
  assert other.returncode == 76, said
  assert [line for line in said.splitlines() if line.startswith('error')] == [
      f'error: worker {victim} ({addresses[victim]}) is gone (its own output '
      'says why); give the same command on all workers to go on from the newest '
      'checkpoint.']
  resumed = worker_processes.run(command(place, name))
  for code, said in resumed:
    assert code == 0, said
    assert "resuming at step 2" in said and "stage 'draws'" in said
  assert_same_run(place, name, 'two_workers')


def test_a_worker_that_is_told_to_stop_stops_all(place, two_workers):
  del two_workers
  with worker_processes.started(command(place, 'stopped')) as processes:
    wait_for_step(place, 'stopped', 23, processes)
    processes[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=300)[0] for process in processes]
  assert [process.returncode for process in processes] == [75, 75], said
  steps = [re.search(r'stopped after step (\d+) of 60', each)[1] for each in said]
  assert steps[0] == steps[1]
  resumed = worker_processes.run(command(place, 'stopped'))
  for code, said in resumed:
    assert code == 0, said
    assert f'resuming at step {steps[0]}' in said
  assert_same_run(place, 'stopped', 'two_workers')


def test_workers_that_were_started_differently_are_refused(place):
  ended = worker_processes.run([
      command(place, 'different'),
      command(place, 'different', '--gin_params', 'PEAK_LEARNING_RATE = 1e-2')])
  for code, said in ended:
    assert code == 2, said
    assert re.search(
        r"error: peak_learning_rate is '0.005' in worker 0 \(localhost:\d+\), but "
        r"'0.01' in worker 1 \(localhost:\d+\); start all workers alike", said)
  assert not os.path.exists(place / 'different' / 'schedule.json')


def test_a_loss_that_is_not_finite_ends_all_workers(place):
  ended = worker_processes.run(command(
      place, 'diverged', '--gin_params', 'PEAK_LEARNING_RATE = 1e30'))
  for code, said in ended:
    assert code == 1, said
    assert 'NonFiniteLossError' in said and 'Lower peak_learning_rate' in said
