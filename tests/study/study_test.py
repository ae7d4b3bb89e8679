"""The study's arms, its runner and its results."""

import dataclasses
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.study import __main__
from benchmarks.study import arm_results
from benchmarks.study import arms
from benchmarks.study import finetuning
from benchmarks.study import record
from benchmarks.study import results
from benchmarks.study import runner
from official_ext.configuration import load_config
from official_ext.downstream.glue_tasks import GLUE_TASKS
from tests.analysis import synthetic_run
from tests.study import samples

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_every_arm_binds_and_every_file_is_an_arm():
  files = {path.relative_to(arms.ROOT).with_suffix('').as_posix()
           for path in arms.ROOT.glob('*/*.gin')}
  assert files == set(arms.ARMS)
  for arm in arms.ARMS.values():
    assert arm.control in arms.ARMS
    study_parameters = ['SEED = 1'] + (
        ["SHORT_DATA_DIR = 'short'"] if arm.short_data else [])
    config, _ = load_config(
        [arm.gin_file], study_parameters, require_directories=False)
    assert config.seed == 1
    control, _ = load_config([arms.ARMS[arm.control].gin_file], (),
                             require_directories=False)
    # What is compared is trained on the same data for the same steps, and ends
    # as the same model.
    for name in ('architecture', 'num_steps', 'batch_size', 'peak_learning_rate'):
      assert getattr(config, name) == getattr(control, name), (arm.name, name)


def test_runs_of_the_headline_come_first():
  order = [(arm.name, seed) for arm, seed in arms.runs()]
  assert len(order) == len(set(order)) == sum(
      arm.num_seeds for arm in arms.ARMS.values())
  assert order[0] == ('bert/scratch', 0)
  assert order.index(('bert/stack', 2)) < order.index(('bert/mslt', 0))
  for name in ('bert/scratch', 'bert/stack', 'bert/compound_grow'):
    assert arms.ARMS[name].num_seeds == 5


@pytest.mark.parametrize('loss, expected', [
    # Between steps 200 and 300, a quarter of the way.
    (4.7, (225, 3.5e10, 35.0)),
    # The small model's 5.0 at step 100 does not count, nor its 5.5.
    (5.0, (175, 2.5e10, 25.0)),
    # Already below right after the growth.
    (5.7, (100, 1e10, 10.0)),
    (4.3, None)])
def test_where_the_grown_model_reaches_a_loss(loss, expected):
  found = arm_results.crossing(
      samples.make_run(curve=samples.CURVE, growths=[samples.GROWTH]), loss)
  if expected is None:
    assert found is None
  else:
    assert (found.step, found.flops, found.seconds) == pytest.approx(expected)


def test_a_restart_of_the_rate_is_no_growth():
  restart = {**samples.GROWTH, 'operators': [], 'loss_after': 5.0}
  joint = {**samples.GROWTH, 'operators': ['trained top layer -> all'], 'loss_after': 5.0}
  for begins in (restart, joint):
    run = samples.make_run(curve=samples.CURVE, growths=[begins])
    # Between steps 50 and 100, before the second stage.
    assert arm_results.crossing(run, 5.25).step == pytest.approx(75)
  # Of a growth and a later restart, the growth counts.
  later = {**restart, 'step': 200}
  run = samples.make_run(
      curve=samples.CURVE, growths=[samples.GROWTH, later],
      steps=(100, 100, 100))
  assert arm_results.crossing(run, 5.0).step == pytest.approx(175)


def test_an_arm_over_its_seeds():
  control = [
      samples.make_run('bert/scratch', seed, curve=((150, 4e10, 40.0, 5.0, 0.1),
                                            (300, 8e10, 80.0, loss, 0.2)),
               steps=(300,)) for seed, loss in ((0, 4.6), (1, 5.0))]
  runs = control + [samples.make_run(seed=seed, curve=samples.CURVE, growths=[samples.GROWTH])
                    for seed in (0, 1)]
  found = arm_results.summarise(arms.ARMS.values(), runs)
  stack = found['bert/stack']
  # The control's mean, 4.8, is reached at step 200 with 3e10 of 8e10 FLOPs.
  assert stack.flops_to_loss.mean == pytest.approx(3e10)
  assert stack.saved == pytest.approx(1 - 3 / 8)
  assert stack.speedup == pytest.approx(8 / 3 - 1)
  assert found['bert/scratch'].loss.mean == pytest.approx(4.8)
  assert found['bert/scratch'].loss.deviation == pytest.approx(0.4 / 2 ** 0.5)
  assert stack.tokens_per_parameter == 5
  growth, = stack.growths
  assert growth.jump.mean == pytest.approx(0.6)
  # The first evaluation at or below 5.0 is at step 200.
  assert growth.recovery_steps.mean == 100
  # A seed that does not reach the loss takes the saving away.
  short = [run | {'curve': run['curve'][:-2]} if run['seed'] else run
           for run in runs if run['arm'] == 'bert/stack']
  found = arm_results.summarise(arms.ARMS.values(), control + short)
  assert found['bert/stack'].saved is None


def test_results_are_whole_and_replaced_by_arm_and_seed(tmp_path):
  path = tmp_path / 'results.json'
  assert results.read(path) == []
  results.add(path, samples.make_run(curve=samples.CURVE))
  results.add(path, samples.make_run(seed=1, curve=samples.CURVE))
  results.add(path, samples.make_run(seed=1, curve=samples.CURVE, tokens=7))
  assert [(run['seed'], run['tokens']) for run in results.read(path)] == [
      (0, 5000), (1, 7)]
  # One line per run, so that version control shows what was added.
  assert len(path.read_text().splitlines()) == 2 + 2
  path.write_text('{"format": 1')
  with pytest.raises(results.ResultsError, match='cannot be read as results'):
    results.read(path)


def test_defaults_are_no_settings():
  config, _ = load_config([arms.ARMS['bert/midas'].gin_file], (),
                          require_directories=False)
  chosen = record.settings(config)
  assert chosen['peak_learning_rate'] == '0.002'
  assert not chosen.keys() & {'weight_decay_rate', 'beta_1', 'seed', 'model_dir'}
  stage = config.schedule.stages[1]
  assert record._chosen(stage) == {
      'name': 'two', 'fraction': 0.2, 'num_layers': 2, 'depth_growth': 'middle'}
  # What differs shows, at any depth.
  other = dataclasses.replace(config, schedule=dataclasses.replace(
      config.schedule, stages=(
          *config.schedule.stages[:3], dataclasses.replace(
              config.schedule.stages[3], depth_growth='append'))))
  changed = record.settings(other)
  assert {name for name in chosen if chosen[name] != changed[name]} == {
      'schedule'}


def test_differences_name_the_setting():
  run = samples.make_run(curve=samples.CURVE, settings={'batch_size': '64'})
  assert results.difference(run, {'batch_size': '64'}, 'd') is None
  assert 'batch_size was 64, is 32' in results.difference(
      run, {'batch_size': '32'}, 'd')
  assert 'beta_2 was the default, is 0.98' in results.difference(
      run, {'batch_size': '64', 'beta_2': '0.98'}, 'd')
  assert 'the data' in results.difference(run, {'batch_size': '64'}, 'e')


def test_a_run_directory_is_summarised(tmp_path):
  synthetic_run.write_run(tmp_path / 'run')
  # As the recorder writes it; every stage's first interval has none.
  path = tmp_path / 'run/metrics.jsonl'
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  for line in lines:
    if line['split'] == 'train':
      line['step_processor_seconds'] = (
          None if line['tracing_seconds'] else 1.5 * line['step_seconds'])
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  arm = arms.ARMS['bert/compound_grow']
  config, _ = load_config([arm.gin_file], (), require_directories=False)
  entry = record.extract(arm, 3, config, tmp_path / 'run', 'hash', {
      'commit': 'c', 'modified': False})
  assert (entry['arm'], entry['seed'], entry['data']) == (arm.name, 3, 'hash')
  held_out = [line for line in lines if line['split'] == 'eval']
  assert entry['final_loss'] == pytest.approx(held_out[-1]['loss'], abs=1e-5)
  # Medians are above the slow intervals: 0.09, 0.14, 0.24 and 0.42 s a step.
  assert [point[2] for point in entry['curve']] == [
      pytest.approx(1.5 * seconds, abs=0.06) for seconds in (
          240 * .09, 240 * .23, 240 * .23 + 360 * .24,
          240 * .23 + 360 * .24 + 360 * .42)]
  assert [growth['step'] for growth in entry['growths']] == [240, 480, 840]
  assert 'model_dir' not in entry['settings']
  assert entry['settings']['peak_learning_rate'] == '0.002'
  synthetic_run.write_run(tmp_path / 'running', stop_at=300)
  with pytest.raises(ValueError, match='unfinished'):
    record.extract(arm, 3, config, tmp_path / 'running', 'hash', {})


# What stands in for a training: writes a run directory after some seconds, or
# stops with 75 on SIGTERM.
_TRAINER = '''
import signal, sys, time, pathlib
directory = pathlib.Path(sys.argv[1])
def stop(*_):
  (directory.parent / (directory.name + '.stopped')).write_text('')
  sys.exit(75)
signal.signal(signal.SIGTERM, stop)
(directory.parent / (directory.name + '.started')).write_text('')
if 'stack' in str(directory):
  print('no such thing'); sys.exit(2)
time.sleep(float(sys.argv[2]))
'''


class _FakeStudy(runner.Study):
  """Trains nothing: the runner's own part is what is tested."""

  seconds = 0.0

  def train_command(self, run):
    return [sys.executable, '-c', _TRAINER, str(run.directory),
            str(self.seconds)]

  def data_hash(self, arm):
    return 'd'


@pytest.fixture
def study(tmp_path, monkeypatch):
  def extract(arm, seed, config, run_dir, data, code):
    assert run_dir.with_name(run_dir.name + '.started').exists()
    return samples.make_run(arm.name, seed, curve=samples.CURVE, data=data, code=code,
                    settings=record.settings(config))

  monkeypatch.setattr(record, 'extract', extract)
  return _FakeStudy(tmp_path / 'work', tmp_path / 'results.json',
                    ['bert/scratch', 'bert/stack'], [0, 1])


def test_finished_runs_are_kept_and_failed_ones_named(study):
  said = []
  failed = runner.run_all(study, study.unfinished(), num_processes=2,
                          say=said.append)
  assert {str(run) for run in failed} == {
      'bert/stack seed 0', 'bert/stack seed 1'}
  assert any('exit code 2' in line and 'no such thing' in line for line in said)
  done = results.read(study.results_path)
  assert [(run['arm'], run['seed']) for run in done] == [
      ('bert/scratch', 0), ('bert/scratch', 1)]
  # The same command has only the others left.
  assert {run.arm.name for run in study.unfinished()} == {'bert/stack'}


def test_results_of_other_settings_are_refused(study):
  runner.run_all(study, study.unfinished(), num_processes=2, say=lambda _: None)
  content = study.results_path.read_text()
  study.results_path.write_text(content.replace(
      '"peak_learning_rate":"0.002"', '"peak_learning_rate":"0.001"'))
  with pytest.raises(results.ResultsError) as error:
    study.unfinished()
  assert 'bert/scratch seed 0: peak_learning_rate was 0.001, is 0.002' in str(
      error.value)
  assert '--rerun' in str(error.value)
  assert len(study.unfinished(rerun=['bert/scratch'])) == 4
  status = __main__.status_table(study, num_processes=2)
  # Half of the runs are left, with the FLOPs and seconds of two curves done.
  assert re.search(r'2 of 4 runs done; 2 runs and about \d+\.\d h left', status)


def test_a_directory_of_other_settings_is_never_gone_on_with(study):
  run, = (run for run in study.runs if str(run) == 'bert/scratch seed 0')
  study.begin(run)
  run.directory.mkdir()
  (run.directory / 'metrics.jsonl').write_text('half of a run')
  study.begin(run)
  assert (run.directory / 'metrics.jsonl').exists()
  # Its rate is changed before it has ended.
  run.settings_file.write_text(run.settings_file.read_text().replace(
      '"0.002"', '"0.001"'))
  with pytest.raises(results.ResultsError, match='seed 0: peak_learning_rate'):
    study.unfinished()
  assert run in study.unfinished(rerun=['bert/scratch'])
  study.begin(run)
  assert not run.directory.exists()
  assert (run.directory.with_name('seed-0.replaced-1') / 'metrics.jsonl'
          ).read_text() == 'half of a run'
  assert len(study.unfinished()) == 4
  # A rerun that is interrupted is gone on with.
  run.directory.mkdir()
  study.begin(run)
  assert run.directory.exists()


def test_a_run_that_cannot_be_summarised_stops_no_other(study, monkeypatch):
  extract = record.extract

  def fail_for_seed_0(arm, seed, *arguments):
    if not seed:
      raise ValueError('no line of metrics')
    return extract(arm, seed, *arguments)

  monkeypatch.setattr(record, 'extract', fail_for_seed_0)
  said = []
  failed = runner.run_all(study, study.unfinished(), num_processes=1,
                          say=said.append)
  assert 'bert/scratch seed 0' in {str(run) for run in failed}
  assert any('no line of metrics' in line for line in said)
  assert [(run['arm'], run['seed']) for run in results.read(study.results_path)
          ] == [('bert/scratch', 1)]


@pytest.mark.skipif(sys.platform != 'linux', reason='asks the Linux kernel')
def test_a_killed_runner_leaves_no_training_behind(study):
  study.seconds = 60.0
  runs = [run for run in study.unfinished() if str(run) == 'bert/scratch seed 0']
  child = os.fork()
  if not child:
    runner.run_all(study, runs, num_processes=1, say=lambda _: None)
    os._exit(1)
  started = runs[0].directory.with_name('seed-0.started')
  _wait_until(started.exists)
  os.kill(child, signal.SIGKILL)
  os.waitpid(child, 0)
  # The training is told, and can save.
  _wait_until(started.with_name('seed-0.stopped').exists)
  # What another process still trains is waited for.
  study.seconds = 0.0
  runs[0].directory.mkdir()
  with open(runs[0].directory / 'run.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert runs[0].is_in_use()
  assert not runs[0].is_in_use()
  assert not runner.run_all(study, runs, num_processes=1, say=lambda _: None)
  assert len(results.read(study.results_path)) == 1


def _wait_until(condition):
  deadline = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_sigterm_stops_the_trainings_and_is_resumable(study):
  study.seconds = 60.0
  runs = [run for run in study.unfinished() if run.arm.name == 'bert/scratch']
  child = os.fork()
  if not child:
    try:
      runner.run_all(study, runs, num_processes=2, say=lambda _: None)
    except KeyboardInterrupt:
      os._exit(75)
    os._exit(1)
  started = [run.directory.with_name(run.directory.name + '.started')
             for run in runs]
  _wait_until(lambda: all(path.exists() for path in started))
  os.kill(child, signal.SIGTERM)
  _, status = os.waitpid(child, 0)
  assert os.waitstatus_to_exitcode(status) == 75
  assert results.read(study.results_path) == []
  assert len(study.unfinished()) == 4


def test_missing_data_is_said_before_anything_runs(tmp_path):
  done = subprocess.run(
      [sys.executable, '-m', 'benchmarks.study', 'run', '--work_dir',
       str(tmp_path), '--arms', 'bert/scratch'], cwd=_ROOT, capture_output=True,
      text=True)
  assert done.returncode == 2
  assert 'no data for bert' in done.stderr and '--text' in done.stderr


def test_unknown_arms_are_refused(tmp_path):
  with pytest.raises(ValueError, match='no arm matches bert/nothing'):
    runner.Study(tmp_path, tmp_path / 'results.json', ['bert/nothing'])


def test_scores_of_fine_tuning_are_read_by_seed(tmp_path):
  path = tmp_path / 'cola/results.json'
  path.parent.mkdir()
  trials = {f'seed{seed}': {'seed': seed, 'metrics': {'accuracy': 0.5 + seed / 10}}
            for seed in (2, 0, 1)}
  path.write_text(json.dumps({'trials': trials}))
  assert finetuning.read_scores(tmp_path, 'accuracy') == [0.5, 0.6, 0.7]
  del trials['seed1']['metrics']  # It diverged.
  path.write_text(json.dumps({'trials': trials}))
  with pytest.raises(ValueError, match=r'scores of seeds \[0, 2\]'):
    finetuning.read_scores(tmp_path, 'accuracy')


def test_the_tasks_have_the_metrics_that_are_read(tmp_path):
  (tmp_path / 'word_order').mkdir()
  (tmp_path / 'word_order/train.tsv').write_text('there already')
  for task in finetuning.make_tasks(tmp_path, tmp_path / 'brown_prose'):
    assert task.metric in GLUE_TASKS[task.glue_task].metrics
