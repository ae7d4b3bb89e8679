"""The study's arms, its runner and what it says of its results."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.study import arm_results
from benchmarks.study import arms
from benchmarks.study import finetuning
from benchmarks.study import record
from benchmarks.study import render
from benchmarks.study import results
from benchmarks.study import runner
from official_ext.configuration import load_config
from tests.analysis import synthetic_run

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def make_run(arm='bert/stack', seed=0, curve=(), growths=(), steps=(100, 200),
             **more):
  return {
      'arm': arm, 'seed': seed, 'settings': {}, 'data': 'd', 'parameters': 1000,
      'tokens': 5000, 'curve': [list(point) for point in curve],
      'final_loss': curve[-1][3], 'final_accuracy': curve[-1][4],
      'growths': list(growths),
      'stages': [{'name': str(index), 'steps': count, 'flops_per_step': 1,
                  'processor_seconds_per_step': 1.0}
                 for index, count in enumerate(steps)],
      'code': {'commit': 'c', 'modified': False},
      'machine': {'processor': 'p', 'tensorflow': 't'}} | more


GROWTH = {'step': 100, 'operators': ['depth 1 -> 2 (append)'],
          'loss_before': 5.0, 'loss_after': 5.6, 'max_logit_difference': 1.0}
# Step, FLOPs, processor seconds, loss, accuracy.
CURVE = ((50, 5e9, 5.0, 5.5, 0.1), (100, 1e10, 10.0, 5.0, 0.15),
         (150, 2e10, 20.0, 5.2, 0.14), (200, 3e10, 30.0, 4.8, 0.2),
         (300, 5e10, 50.0, 4.4, 0.3))


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
  found = arm_results.crossing(make_run(curve=CURVE, growths=[GROWTH]), loss)
  if expected is None:
    assert found is None
  else:
    assert (found.step, found.flops, found.seconds) == pytest.approx(expected)


def test_a_restart_of_the_rate_is_no_growth():
  restart = {**GROWTH, 'operators': [], 'loss_after': 5.0}
  joint = {**GROWTH, 'operators': ['trained top layer -> all'], 'loss_after': 5.0}
  for begins in (restart, joint):
    run = make_run(curve=CURVE, growths=[begins])
    # Between steps 50 and 100, before the second stage.
    assert arm_results.crossing(run, 5.25).step == pytest.approx(75)
  # Of a growth and a later restart, the growth counts.
  later = {**restart, 'step': 200}
  run = make_run(curve=CURVE, growths=[GROWTH, later], steps=(100, 100, 100))
  assert arm_results.crossing(run, 5.0).step == pytest.approx(175)


def test_an_arm_over_its_seeds():
  control = [
      make_run('bert/scratch', seed, curve=((150, 4e10, 40.0, 5.0, 0.1),
                                            (300, 8e10, 80.0, loss, 0.2)),
               steps=(300,)) for seed, loss in ((0, 4.6), (1, 5.0))]
  runs = control + [make_run(seed=seed, curve=CURVE, growths=[GROWTH])
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
  results.add(path, make_run(curve=CURVE))
  results.add(path, make_run(seed=1, curve=CURVE))
  results.add(path, make_run(seed=1, curve=CURVE, tokens=7))
  assert [(run['seed'], run['tokens']) for run in results.read(path)] == [
      (0, 5000), (1, 7)]
  # One line per run, so that version control shows what was added.
  assert len(path.read_text().splitlines()) == 2 + 2
  path.write_text('{"format": 1')
  with pytest.raises(results.ResultsError, match='cannot be read as results'):
    results.read(path)


def test_differences_name_the_setting():
  run = make_run(curve=CURVE, settings={'batch_size': '64'})
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
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
directory = pathlib.Path(sys.argv[1])
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
    return make_run(arm.name, seed, curve=CURVE, data=data, code=code,
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
  deadline = time.monotonic() + 30
  started = [run.directory.with_name(run.directory.name + '.started')
             for run in runs]
  while not all(path.exists() for path in started):
    assert time.monotonic() < deadline
    time.sleep(0.05)
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


def test_fine_tuning_is_in_the_page():
  run = make_run('bert/scratch', curve=CURVE, steps=(300,))
  assert 'After fine-tuning' in render.page([run])
  run['finetuning'] = {'brown_prose': [0.8, 0.9], 'word_order': [0.25]}
  page = render.page([run])
  assert '| scratch | 1 | 0.850 ± 0.071 | 0.250 |' in page


def test_a_page_without_results_says_so():
  page = render.page([])
  assert f'**0 of {len(list(arms.runs()))} planned runs are complete.**' in page
  assert render.NOT_RUN in page


def test_sentences_follow_the_numbers():
  def finished(arm, losses):
    return [make_run(arm, seed, steps=(300,), curve=(
        (150, 4e10, 40.0, 5.5, 0.1), (300, 8e10, 80.0, loss, 0.2)))
            for seed, loss in enumerate(losses)]

  def compare(one, other):
    found = arm_results.summarise(
        arms.ARMS.values(),
        finished('bert/stack', one) + finished('bert/scratch', other))
    return render.compare(
        found['bert/stack'], found['bert/scratch'], 'scratch')

  assert 'nats lower than scratch' in compare([4.0, 4.1], [4.5, 4.6])
  assert 'nats higher than scratch' in compare([4.5, 4.6], [4.0, 4.1])
  assert 'cannot be told apart' in compare([4.0, 4.4], [4.1, 4.2])
  assert 'one seed' in compare([4.0], [4.5, 4.6])


def test_the_page_is_that_of_the_committed_results():
  runs = results.read(results.PATH)
  assert render.PAGE.read_text(encoding='utf-8') == render.page(runs)
  readme = render.README.read_text(encoding='utf-8')
  assert render.with_headline(readme, runs) == readme
