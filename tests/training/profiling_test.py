"""Traces of a few steps of each stage, and where the time of a run went."""

import dataclasses
import json
import os
import shutil

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from official_ext.schedules import GrowthSchedule
from official_ext.schedules import ResolvedStage
from official_ext.schedules import scratch
from official_ext.schedules import Stage
from official_ext.training.pretrain import pretrain
from official_ext.training.profiling import traced_steps
from official_ext.training.time_ledger import KINDS
from official_ext.training.time_ledger import TimeLedger
from tests.training import tiny_run

SCHEDULE = GrowthSchedule((
    Stage('half', steps=8, depth=0.5), Stage('full', steps=12)))
# As the first of these, whose steps from 4 to 7 are traced.
ONE_STAGE = dict(
    schedule=scratch(), num_steps=8,
    architecture=tiny_run.ARCHITECTURE.replace(num_layers=1))


def small_config(path, **changes):
  return tiny_run.config(path, **{
      'schedule': SCHEDULE, 'deterministic': False,
      'architecture': tiny_run.ARCHITECTURE.replace(num_layers=2),
      'log_interval_steps': 4, 'checkpoint_interval_steps': 8,
      'eval_interval_steps': 6, 'profile_steps': 3, **changes})


def train(config):
  return pretrain(config, config_text='# resolved\n',
                  flops_per_step=lambda *_: 10.0)


def lines(path, name):
  with open(os.path.join(path, 'run', name)) as file:
    return [json.loads(line) for line in file]


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  path = tmp_path_factory.mktemp('profiled')
  train(small_config(path))
  return path


def markers(directory):
  """(step_num, picoseconds) of every step marker in a trace, by step."""
  file, = directory.glob('plugins/profile/*/*.xplane.pb')
  space = xplane_pb2.XSpace.FromString(file.read_bytes())
  found = []
  for plane in space.planes:
    for line in plane.lines:
      for event in line.events:
        if plane.event_metadata[event.metadata_id].name == 'train':
          stats = {plane.stat_metadata[stat.metadata_id].name: stat.int64_value
                   for stat in event.stats}
          found.append((stats['step_num'], event.duration_ps))
  return sorted(found)


def test_each_stage_has_a_trace_of_whole_marked_steps(finished):
  records = lines(finished, 'profile.jsonl')
  # Stage 0 ends at 8: after the first step, and between the lines of metrics at
  # 4 and 8. Stage 1 has no room for ten steps of warm-up before 12 to 16.
  assert [(r['stage'], r['stage_name'], r['step'], r['steps'])
          for r in records] == [(0, 'half', 4, 3), (1, 'full', 16, 3)]
  for record in records:
    assert record['directory'] == (
        f'profile/stage_{record["stage"]}_step_{record["step"]}')
    assert record['steps_per_marker'] == 1
    found = markers(finished / 'run' / record['directory'])
    first = record['step']
    assert [step for step, _ in found] == [first, first + 1, first + 2]
    # The wall clock of the same steps holds the markers and little else.
    marked = sum(duration for _, duration in found) / 1e12
    assert 0.8 * record['seconds'] < marked < record['seconds']


def test_every_line_of_metrics_says_what_the_time_went_into(finished):
  metrics = lines(finished, 'metrics.jsonl')
  before = dict.fromkeys(KINDS, 0.0)
  for record in metrics:
    spent = record['spent_seconds']
    assert list(spent) == list(KINDS)
    assert all(spent[kind] >= before[kind] for kind in KINDS)
    # Sums of rounded numbers.
    assert sum(spent.values()) <= record['wall_seconds'] + 0.01
    before = spent
  assert all(spent[kind] > 0 for kind in KINDS)
  growth, = lines(finished, 'growth.jsonl')
  assert spent['growth'] == pytest.approx(growth['seconds'], abs=1e-3)
  assert spent['tracing'] == pytest.approx(
      sum(r.get('tracing_seconds', 0) for r in metrics), abs=1e-2)
  steps, last = 0.0, 0
  for record in metrics:
    if record['split'] == 'train':
      first = last in (0, 8)  # That step is `tracing`.
      steps += record['step_seconds'] * (record['step'] - last - first)
      last = record['step']
  assert spent['steps'] == pytest.approx(steps, abs=1e-2)


def test_evaluations_come_with_the_lines_of_metrics(finished):
  evaluations = [r for r in lines(finished, 'metrics.jsonl')
                 if r['split'] == 'eval']
  # Due at 6, 12 and 18; lines come every four steps and at the growth.
  assert [(r['step'], r['moment']) for r in evaluations] == [
      (8, 'before_growth'), (8, 'after_growth'), (12, 'interval'),
      (20, 'end')]


def test_interrupted_run_keeps_its_times_and_traces(finished, tmp_path):
  shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
  config = small_config(tmp_path)
  whole = lines(tmp_path, 'metrics.jsonl')
  # As if the run had been stopped after its checkpoint of step 8.
  for file in (tmp_path / 'run/checkpoints').glob('ckpt-[!8]*'):
    file.unlink()
  (tmp_path / 'run/checkpoints/checkpoint').unlink()
  train(dataclasses.replace(config, profile_steps=0))
  resumed = lines(tmp_path, 'metrics.jsonl')
  kept = [r for r in resumed if r['step'] <= 8]
  assert kept == [r for r in whole if r['step'] <= 8]
  for record in resumed[len(kept):]:
    for kind in KINDS:
      assert (record['spent_seconds'][kind]
              >= kept[-1]['spent_seconds'][kind])
  # The trace of the steps that were done again was not made again.
  assert [r['step'] for r in lines(tmp_path, 'profile.jsonl')] == [4]


def test_nothing_is_traced_with_profile_steps_0(tmp_path):
  train(small_config(tmp_path, profile_steps=0, **ONE_STAGE))
  assert not (tmp_path / 'run/profile').exists()
  assert not (tmp_path / 'run/profile.jsonl').exists()
  last = lines(tmp_path, 'metrics.jsonl')[-1]
  assert last['spent_seconds']['profiling'] == 0


def test_somebody_elses_trace_is_left_alone(tmp_path):
  tf.profiler.experimental.start(str(tmp_path / 'theirs'))
  try:
    train(small_config(tmp_path, **ONE_STAGE))
  finally:
    tf.profiler.experimental.stop()
  assert not (tmp_path / 'run/profile.jsonl').exists()
  assert list((tmp_path / 'theirs').glob('plugins/profile/*/*.xplane.pb'))


@pytest.mark.parametrize('stage, step, wanted, execution, log, expected', [
    ((0, 1000), 0, 10, 1, 0, (10, 20)),
    ((300, 1000), 300, 10, 1, 0, (310, 320)),
    ((300, 1000), 777, 10, 1, 0, (787, 797)),  # resumed there
    ((0, 1000), 0, 10, 1, 15, (15, 25)),       # not over the line at 15
    ((0, 1000), 0, 10, 1, 100, (10, 19 + 1)),
    ((0, 1000), 0, 10, 1, 5, (10, 20)),        # lines are everywhere
    ((0, 1000), 0, 10, 25, 0, (250, 275)),     # whole executions
    ((0, 100), 0, 60, 25, 0, (25, 75)),        # the last one grows the model
    ((0, 12), 0, 10, 1, 0, (1, 11)),
    ((0, 6), 0, 10, 1, 0, (1, 5)),             # fewer than wanted
    ((0, 3), 0, 10, 1, 0, (1, 2)),
    ((0, 2), 0, 10, 1, 0, None),
    ((0, 100), 99, 10, 1, 0, None),
    ((0, 100), 100, 10, 1, 0, None),
])
def test_which_steps_are_traced(stage, step, wanted, execution, log, expected):
  start, end = stage
  resolved = ResolvedStage(0, 'a', start, end, tiny_run.ARCHITECTURE)
  assert traced_steps(resolved, step, wanted, execution, log) == expected


def test_ledger_counts_blocks_that_fail_and_goes_on_from_earlier():
  clock = iter([10.0, 12.5, 20.0, 20.25])
  ledger = TimeLedger({'growth': 1.0}, clock=lambda: next(clock))
  with ledger.spending('growth'):
    pass
  with pytest.raises(KeyError, match='why'):
    with ledger.spending('evaluation'):
      raise KeyError('why')
  assert ledger['growth'] == 3.5
  assert ledger.to_dict() == {
      'steps': 0.0, 'tracing': 0.0, 'growth': 3.5, 'evaluation': 0.25,
      'checkpoints': 0.0, 'profiling': 0.0}


def test_ledger_counts_what_a_running_block_has_taken_so_far():
  clock = iter([10.0, 12.5, 14.0, 15.0])
  ledger = TimeLedger({'checkpoints': 1.0}, clock=lambda: next(clock))
  with ledger.spending('checkpoints'):
    # A checkpoint keeps the seconds of its own saving.
    assert ledger.to_dict()['checkpoints'] == 3.5
  assert ledger.to_dict()['checkpoints'] == 5.0
