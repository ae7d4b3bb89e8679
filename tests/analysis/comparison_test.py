"""Comparisons of runs whose figures are known by arithmetic."""

import base64
import csv
import dataclasses
import io
import json
import re
import struct

import pytest

from official_ext.analysis import comparison as comparison_lib
from official_ext.analysis import comparison_page
from official_ext.analysis import comparison_table
from official_ext.analysis import flops
from official_ext.analysis import profile_trace
from official_ext.analysis import quantities
from official_ext.mistakes import ConfigurationError
from tests.analysis import compared_run
from tests.analysis import synthetic_run

PICTURES = ['loss_by_step', 'loss_by_flops', 'loss_by_walltime', 'walltime',
            'step_times']


def step_flops(num_layers):
  return flops.train_flops(
      synthetic_run.TARGET.replace(num_layers=num_layers),
      synthetic_run.NUM_PREDICTIONS, synthetic_run.BATCH_SIZE)


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
  path = tmp_path_factory.mktemp('compared')
  return [
      compared_run.write_run(
          path / 'scratch' / 'model',
          traced_milliseconds=[[400, 380, 800, 420]]),
      compared_run.write_run(
          path / 'grown' / 'model', compared_run.GROWN,
          traced_milliseconds=[[140, 150, 160, 150], [390, 400, 410, 400]])]


@pytest.fixture(scope='module')
def comparison(paths):
  return comparison_lib.compare_runs(paths)


def test_walltime_is_taken_apart(comparison):
  scratch, grown = comparison.runs
  assert scratch.spent_seconds == pytest.approx({
      'steps': 40, 'tracing': 10, 'growth': 0, 'evaluation': 10,
      'checkpoints': 1, 'profiling': 0, 'other': 5})
  assert grown.spent_seconds == pytest.approx({
      'steps': 60 * .15 + 40 * .4, 'tracing': 20, 'growth': 3, 'evaluation': 12,
      'checkpoints': 1, 'profiling': 0, 'other': 5})
  # Without evaluation.
  assert (scratch.seconds, grown.seconds) == pytest.approx((56, 54))


def test_speedups(comparison):
  _, grown = comparison.runs
  assert comparison.speedup(grown, 'flops') == pytest.approx(
      100 * step_flops(4) / (60 * step_flops(2) + 40 * step_flops(4)) - 1)
  assert comparison.speedup(grown, 'seconds') == pytest.approx(56 / 54 - 1)
  assert comparison.speedup(grown, 'steps') == pytest.approx(40 / 25 - 1)
  # 100 steps at .41, against 60 at .15 and 40 at .4.
  assert comparison.speedup(grown, 'profiled') == pytest.approx(41 / 25 - 1)
  assert comparison.speedup(comparison.baseline, 'flops') == 0


def test_step_times_are_the_markers_own(comparison):
  scratch, grown = comparison.runs
  times, = scratch.stages
  assert times.num_traced_steps == 4
  assert times.median_seconds == pytest.approx(0.41)
  # Seven tenths of the way from the third to the fourth of 380, 400, 420, 800.
  assert times.p90_seconds == pytest.approx(0.420 + 0.7 * 0.380)
  assert times.mean_seconds == pytest.approx(0.5)
  assert times.wall_seconds == pytest.approx(1.02 * 0.5)
  assert times.deviation == pytest.approx(1 / 1.02 - 1)
  assert times.logged_seconds == pytest.approx(0.4)
  assert times.shares == pytest.approx(
      {'device': 0, 'host': 0.75, 'input': 0, 'other': 0.25})
  assert [t.median_seconds for t in grown.stages] == pytest.approx([.15, .4])


def test_markers_of_several_steps_count_as_so_many(tmp_path):
  path = compared_run.write_run(
      tmp_path / 'run', traced_milliseconds=[[4000, 4400]])
  trace = json.loads((tmp_path / 'run/profile.jsonl').read_text())
  (tmp_path / 'run/profile.jsonl').write_text(
      json.dumps(trace | {'steps_per_marker': 10, 'steps': 20}) + '\n')
  times, = comparison_lib.compare_runs([path, path]).baseline.stages
  assert times.num_traced_steps == 20
  assert times.median_seconds == times.mean_seconds == pytest.approx(0.42)
  assert times.deviation == pytest.approx(1 / 1.02 - 1)


def test_losses_are_reached_between_evaluations(comparison):
  scratch, grown = comparison.runs
  # 8 at step 40 and 7 at step 60; growth at 60 brings back 7.5.
  point = scratch.reached(7.5)
  assert (point.step, point.seconds) == pytest.approx((50, (32 + 40) / 2))
  assert point.flops == pytest.approx(50 * step_flops(4))
  point = grown.reached(7.2)
  assert (point.step, point.seconds) == pytest.approx((56, 22 + 0.8 * 3))
  assert point.flops == pytest.approx(56 * step_flops(2))
  point = grown.reached_for_good(7.2)
  # From 7.5 at 28 s, step 60, to 6 at 46 s, step 80.
  assert (point.step, point.seconds) == pytest.approx((64, 28 + 0.2 * 18))
  assert grown.reached_for_good(6.5) == grown.reached(6.5)
  assert grown.reached(4.9) is grown.reached_for_good(4.9) is None
  # Where the first evaluation was below already, nobody saw it.
  assert grown.reached(9.5) is grown.reached_for_good(9.5) is None
  assert comparison.speedup_to(grown, 7.5, 'step') == pytest.approx(0)
  assert comparison.speedup_to(grown, 7.5, 'seconds') == pytest.approx(
      36 / 23.5 - 1)
  assert comparison.speedup_to(grown, 4.0, 'seconds') is None


def test_default_losses_are_round_and_reached_by_all(comparison):
  assert comparison.losses == (6.0, 5.5, 5.0)
  for run in comparison.runs:
    assert all(run.reached(loss) for loss in comparison.losses)


def test_a_run_evaluated_once_has_no_losses_to_offer(paths, tmp_path):
  path = compared_run.write_run(tmp_path / 'once')
  lines = (tmp_path / 'once/metrics.jsonl').read_text().splitlines(True)
  (tmp_path / 'once/metrics.jsonl').write_text(''.join(
      line for line in lines if '"interval"' not in line))
  compared = comparison_lib.compare_runs([paths[0], path])
  assert compared.losses == ()
  comparison_page.write_comparison([paths[0], path], str(tmp_path / 'out'))
  words = page_words(tmp_path / 'out')
  assert 'no held-out loss in common' in words
  assert 'Some runs were evaluated too rarely' in words


def test_older_runs_without_traces_and_accounts(paths, tmp_path):
  path = compared_run.write_run(
      tmp_path / 'older', compared_run.GROWN, told=False)
  compared = comparison_lib.compare_runs([paths[0], path])
  older = compared.runs[1]
  # Evaluation and checkpoints cannot be told from the rest.
  assert older.spent_seconds == pytest.approx(
      {'steps': 25, 'tracing': 20, 'growth': 3, 'other': 5 + 12 + 1})
  assert compared.speedup(older, 'profiled') is None
  comparison_page.write_comparison([paths[0], path], str(tmp_path / 'out'))
  assert 'older 1 half 0 – – – – – – – – – 150 ms' in page_words(tmp_path / 'out')


def test_a_run_that_goes_on_has_no_speedup_yet(paths, tmp_path):
  path = compared_run.write_run(tmp_path / 'running', num_steps=500)
  compared = comparison_lib.compare_runs([paths[0], path])
  assert compared.speedup(compared.runs[1], 'flops') is None
  comparison_page.write_comparison([paths[0], path], str(tmp_path / 'out'))
  assert 'Comparison · in progress' in page_words(tmp_path / 'out')


def page_words(directory):
  page = (directory / 'comparison.html').read_text(encoding='utf-8')
  text = re.sub(r'<[^>]*>', ' ', page.split('<body>')[1])
  text = text.replace('&nbsp;', ' ').replace('&thinsp;', ' ')
  return ' '.join(text.split())


def test_page_holds_all_that_it_needs(paths, tmp_path):
  comparison_page.write_comparison(paths, str(tmp_path))
  page = (tmp_path / 'comparison.html').read_text(encoding='utf-8')
  sources = re.findall(r'(?:src|href)="([^"]*)"', page)
  assert len(sources) == len(PICTURES)
  for name, source in zip(PICTURES, sources):
    embedded = base64.b64decode(source.removeprefix('data:image/png;base64,'))
    assert embedded == (tmp_path / f'{name}.png').read_bytes()
    width, height = struct.unpack('>II', embedded[16:24])
    assert width > 800 and height > 200
  words = page_words(tmp_path)
  assert 'grown against scratch' in words
  ratio = 100 * step_flops(4) / (60 * step_flops(2) + 40 * step_flops(4)) - 1
  assert f'{quantities.speedup(ratio)} speed-up in FLOPs'.replace(
      '\N{NO-BREAK SPACE}', ' ') in words
  assert '+4 % speed-up in walltime' in words
  assert '+64 % speed-up of the steps' in words
  # Median, 90 %, split, mean, same steps, deviation, logged.
  assert ('scratch 1 full 4 410 ms 686 ms 0.0 % 75.0 % 0.0 % 25.0 % 500 ms '
          '510 ms −1.96 % 400 ms') in words
  assert 'grown 25.0 s 20.0 s 3.00 s 1.00 s 5.00 s 12.0 s 0' in words
  assert 'grown 60 depth 2 → 4 (append) 7.0000 7.5000 3.00' in words
  assert not list(tmp_path.glob('*.partial'))


def test_page_says_when_a_growth_took_a_loss_back(paths, tmp_path):
  comparison_page.write_comparison(paths, str(tmp_path), losses=[7.2, 4.0])
  words = page_words(tmp_path)
  assert 'grown 56 ' in words and '24.4 s for good: 31.6 s' in words
  assert words.count('not reached after its first evaluation') == 2


def test_same_runs_give_the_same_bytes(paths, tmp_path):
  for name in ('one', 'two'):
    comparison_page.write_comparison(paths, str(tmp_path / name))
  for file in (tmp_path / 'one').iterdir():
    assert file.read_bytes() == (tmp_path / 'two' / file.name).read_bytes()


def test_tables_for_machines_and_papers(paths, tmp_path):
  comparison_page.write_comparison(paths, str(tmp_path), losses=[7.5])
  values = json.loads((tmp_path / 'comparison.json').read_text())
  assert values['baseline'] == 'scratch' and values['losses'] == [7.5]
  grown = values['runs'][1]
  assert grown['speedup']['profiled'] == pytest.approx(0.64)
  assert grown['to_loss'][0]['first']['seconds'] == pytest.approx(23.5)
  assert grown['stages'][0]['median_seconds'] == pytest.approx(0.15)
  assert grown['growths'][0]['loss_after'] == 7.5
  assert [point['step'] for point in grown['held_out']] == [
      20, 40, 60, 60, 80, 100]
  rows = list(csv.DictReader(io.StringIO(
      (tmp_path / 'comparison.csv').read_text())))
  assert [row['run'] for row in rows] == ['scratch', 'grown']
  assert float(rows[1]['walltime_seconds']) == pytest.approx(54)
  assert float(rows[1]['seconds_to_7.5']) == pytest.approx(23.5)
  latex = (tmp_path / 'comparison.tex').read_text()
  lines = latex.splitlines()
  assert {line.count(' & ') for line in lines if '&' in line} == {7}
  mantissa, exponent = f'{100 * step_flops(4):.2e}'.split('e+')
  assert (rf'scratch & ${mantissa}\times10^{{{exponent}}}$ & -- & 0.0156 & -- & '
          r'5.000 & 10.0 & 0.01 \\') in lines


def test_names_that_latex_would_read(comparison):
  assert comparison_table.to_latex(comparison).startswith(r'\begin{tabular}{lr')
  run = dataclasses.replace(comparison.baseline, name='a_b%{c}')
  latex = comparison_table.to_latex(comparison_lib.Comparison((run,), ()))
  assert r'a\_b\%\{c\} & ' in latex


@pytest.mark.parametrize('paths, names', [
    (['runs/a', 'runs/b'], ['a', 'b']),
    (['runs/a/model', 'runs/b/model/'], ['a', 'b']),
    (['gs://bucket/x/y', 'runs/z'], ['y', 'z']),
    (['a/x', 'b/x', 'a/y'], ['a/x', 'b/x', 'a/y']),
    (['a', 'a'], ['a', 'a']),
])
def test_runs_are_named_by_what_differs(paths, names):
  assert comparison_lib.run_names(paths) == names


def test_runs_of_another_task_are_refused_with_all_reasons(paths, tmp_path):
  other = compared_run.write_run(
      tmp_path / 'other', batch_size=16, num_predictions=10,
      model={'use_next_sentence': False},
      data={'vocab_sha256': 'e' * 64, 'splits': {
          '128': {'train': ['b' * 64], 'eval': ['f' * 64]}}})
  schedule = json.loads((tmp_path / 'other/schedule.json').read_text())
  schedule['stages'][0]['architecture']['num_layers'] = 2
  (tmp_path / 'other/schedule.json').write_text(json.dumps(schedule))
  metrics = (tmp_path / 'other/metrics.jsonl').read_text()
  (tmp_path / 'other/metrics.jsonl').write_text(
      metrics.replace('"eval_steps": 16', '"eval_steps": 4'))
  with pytest.raises(ConfigurationError) as error:
    comparison_lib.compare_runs([paths[0], other])
  force = ' (--force compares all the same)'
  assert list(error.value.mistakes) == [reason + force for reason in (
      'the vocabulary (SHA-256) is eeeeeeeeeeee in other, but aaaaaaaaaaaa in '
      'model',
      'the text that is trained on is not the same in other and in model (the '
      'hashes of 1 and 2 files of records differ)',
      'the held-out text is not the same in other and in model (the hashes of 1 '
      'and 1 files of records differ)',
      "the target's num_layers is 2 in other, but 4 in model",
      'batch_size is 16 in other, but 32 in model',
      'num_predictions is 10 in other, but 20 in model',
      'use_next_sentence is False in other, but True in model',
      'eval_steps is 4 in other, but 16 in model')]
  comparison_page.write_comparison(
      [paths[0], other], str(tmp_path / 'out'), force=True)
  words = page_words(tmp_path / 'out')
  assert 'other cannot be compared with model ; what follows was forced' in words
  assert 'batch_size is 16 in other, but 32 in model' in words


def test_a_baseline_alone_is_refused(paths):
  with pytest.raises(ValueError, match='1 run directories are given; give the '
                     'baseline and at least one other'):
    comparison_lib.compare_runs(paths[:1])


def test_a_trace_that_is_missing_or_torn(paths, tmp_path):
  path = compared_run.write_run(
      tmp_path / 'run', traced_milliseconds=[[100, 100]])
  file, = (tmp_path / 'run/profile').rglob('*.xplane.pb')
  file.write_bytes(b'\xff' * 100)
  with pytest.raises(ValueError, match='stage_0_step_10.*: xprof cannot read the '
                     'trace .*; trace the run anew'):
    comparison_lib.compare_runs([paths[0], path])
  file.unlink()
  with pytest.raises(ValueError, match=r'holds no trace .*; copy the run.s folder '
                     '`profile` whole'):
    comparison_lib.compare_runs([paths[0], path])


def table(columns, *rows):
  return {'cols': [{'id': column} for column in columns],
          'rows': [{'c': [{'v': value} for value in row]} for row in rows]}


def test_steps_of_a_gpu_and_of_a_tpu():
  # The columns of op_stats_to_input_pipeline_analysis.cc, values made up.
  gpu = table(
      ['stepnum', 'deviceComputeTimeMs', 'deviceToDeviceTimeMs',
       'deviceCollectivesTimeMs', 'hostComputeTimeMs', 'kernelLaunchTimeMs',
       'infeedTimeMs', 'outfeedTimeMs', 'compileTimeMs', 'otherTimeMs',
       'tooltip', 'stepTimeMs'],
      ['train 3', 50, 1, 9, 4, 6, 10, 2, 0, 18, '…', 100])
  step, = profile_trace.marked_steps([{'cols': [], 'rows': []}, gpu])
  assert (step.name, step.seconds) == ('train 3', 0.1)
  assert step.parts == pytest.approx(
      {'device': 0.06, 'host': 0.012, 'input': 0.01, 'other': 0.018})
  tpu = table(
      ['stepnum', 'tcComputeTimeMs', 'tcInfeedTimeMs', 'tcOutfeedTimeMs',
       'tcIdleTimeMs', 'hostTransferTimeMs', 'tooltip'],
      [7, 60, 20, 1, 15, 4, '…'])
  step, = profile_trace.marked_steps([tpu])
  assert (step.name, step.seconds) == ('7', pytest.approx(0.1))
  assert step.parts == pytest.approx(
      {'device': 0.06, 'host': 0.005, 'input': 0.02, 'other': 0.015})
  assert profile_trace.marked_steps([table(['operation'], ['MatMul'])]) == []
