"""The report of finished, running, resumed and single-stage runs."""

import base64
import json
import re
import shutil
import struct

from official_ext.analysis import flops
from official_ext.analysis import quantities
from official_ext.analysis import report
from official_ext.analysis import run_summary
from official_ext.schedules import ResolvedStage
import pytest

from tests.analysis import synthetic_run

PICTURES = ('loss_by_step', 'loss_by_flops', 'loss_by_walltime',
            'accuracy_by_step')


@pytest.fixture(scope='module')
def finished_run(tmp_path_factory):
  path = tmp_path_factory.mktemp('runs') / 'quickstart'
  synthetic_run.write_run(path)
  return path


@pytest.fixture
def run(finished_run, tmp_path):
  return shutil.copytree(finished_run, tmp_path / 'quickstart')


def _words(path):
  """The page's text, tags and doubled blanks taken out."""
  page = path.read_text(encoding='utf-8').split('<body>')[1]
  text = re.sub(r'<[^>]*>', ' ', page)
  for entity, character in (('&ensp;', ' '), ('&thinsp;', ' '),
                            ('&lt;', '<'), ('&gt;', '>'), ('&amp;', '&')):
    text = text.replace(entity, character)
  return ' '.join(text.split())


def test_page_of_a_finished_run_holds_all_that_it_needs(run):
  path = report.write_report(str(run))
  assert path == str(run / 'report.html')
  page = (run / 'report.html').read_text(encoding='utf-8')
  # Self-contained: nothing is fetched but the embedded pictures.
  sources = re.findall(r'(?:src|href)="([^"]*)"', page)
  assert len(sources) == 4
  for name, source in zip(PICTURES, sources):
    embedded = base64.b64decode(source.removeprefix('data:image/png;base64,'))
    assert embedded == (run / f'{name}.png').read_bytes()
    width, height = struct.unpack('>II', embedded[16:24])
    assert width > 800 and height > 500
  words = _words(run / 'report.html')
  assert '4 layers, 256 wide with 4 heads' in words
  assert 'grew into that size through 4 stages' in words
  # 1.2k steps: 240 + 240 + 360 + 360 at .09, .14, .24 and .42 seconds.
  speedup = 1200 * 0.42 / (240 * (0.09 + 0.14) + 360 * (0.24 + 0.42)) - 1
  assert f'{100 * speedup:+.0f} % speed-up in walltime' in words
  stages = [
      ResolvedStage(stage.index, stage.name, stage.start_step, stage.end_step,
                    stage.architecture)
      for stage in run_summary.read_run(str(run)).stages]
  assert (f'{100 * flops.schedule_speedup(stages, 20):+.0f} % speed-up in FLOPs'
          in words)
  assert '5.8 %' in words                       # the most frequent token
  assert "<not a tag & not an entity>" in words  # escaped, not swallowed
  assert 'in progress' not in words
  assert not list(run.glob('*.partial'))


def test_page_compares_with_the_unigram_level(run):
  report.write_report(str(run))
  words = _words(run / 'report.html')
  last = run_summary.read_run(str(run)).last_held_out['masked_lm_loss']
  assert f'masked-LM loss is {last:.3f} nats' in words
  assert f'is 6.000 nats. The run is {6.0 - last:.2f} nats below it' in words
  # A run that has not left it is said to be stuck.
  manifest = run / 'data_manifest.json'
  manifest.write_text(manifest.read_text().replace(
      '"cross_entropy": 6.0', f'"cross_entropy": {last + 0.1}'))
  report.write_report(str(run))
  assert 'not yet clearly below it' in _words(run / 'report.html')
  # Data of before the level was known.
  content = json.loads(manifest.read_text())
  del content['unigram']
  manifest.write_text(json.dumps(content))
  report.write_report(str(run))
  assert 'unigram' not in _words(run / 'report.html').lower()


def test_stage_table(run):
  report.write_report(str(run))
  words = _words(run / 'report.html')
  for row in ('1 quarter 240 1 256 512 75 ', '2 half 240 2 256 512 75 ',
              '3 treated 360 4 256 512 75 ', '4 full 360 4 256 1,024 128 5.50 M'):
    assert row in words
  # The median is above the slow intervals at steps 200, 400, ..., 1200.
  for step_time in ('90.0 ms', '140 ms', '240 ms', '420 ms'):
    assert step_time in words
  times = [260 * .09, 260 * .14, 400 * .24, 400 * .42]
  for time in times:
    assert f'{100 * time / sum(times):.1f} %' in words
  assert 'Tracing the graphs took 48.0 s.' in words


def test_growth_table(run):
  report.write_report(str(run))
  words = _words(run / 'report.html')
  records = [json.loads(line)
             for line in (run / 'growth.jsonl').read_text().splitlines()]
  for record, preserves, difference in zip(
      records, ('not meant to', 'not meant to', 'yes'),
      ('2.70', '2.70', '3.1e-06')):
    assert (f'{", ".join(record["operators"])} {record["loss_before"]:.4f} '
            f'{record["loss_after"]:.4f} {preserves} {difference} 0.81') in words


def test_same_run_gives_the_same_bytes(run):
  report.write_report(str(run))
  first = (run / 'report.html').read_bytes()
  report.write_report(str(run))
  assert (run / 'report.html').read_bytes() == first


def test_run_in_progress_with_a_torn_last_line(tmp_path):
  path = tmp_path / 'running'
  synthetic_run.write_run(path, stop_at=300)
  with open(path / 'metrics.jsonl', 'a', encoding='utf-8') as file:
    file.write('{"step": 320, "split": "tr')
  report.write_report(str(path))
  words = _words(path / 'report.html')
  assert 'Pre-training report · in progress' in words
  assert 'So far, 300 steps are done.' in words
  assert '60 of 240' in words and '0 of 360' in words
  assert '– speed-up in walltime once every stage has been timed' in words


def test_run_before_its_first_record(tmp_path):
  path = tmp_path / 'new'
  synthetic_run.write_run(path, stop_at=-1)
  (path / 'metrics.jsonl').unlink()
  (path / 'data_manifest.json').unlink()
  report.write_report(str(path))
  words = _words(path / 'report.html')
  assert '– held-out loss not evaluated yet' in words
  assert 'has not grown yet; the first growth comes at step 240' in words
  assert sorted(p.name for p in path.glob('*.png')) == ['loss_by_step.png']


def test_run_from_scratch_speaks_of_no_growth(tmp_path):
  path = tmp_path / 'scratch'
  synthetic_run.write_run(path, stages=synthetic_run.SCRATCH)
  report.write_report(str(path))
  words = _words(path / 'report.html')
  assert 'at full size from the first step' in words
  assert 'speed-up' not in words and 'Growths' not in words


def test_records_out_of_order_and_an_interval_that_is_all_tracing(tmp_path):
  path = tmp_path / 'resumed'
  synthetic_run.write_run(path, stop_at=40)
  records = [json.loads(line)
             for line in (path / 'metrics.jsonl').read_text().splitlines()]
  records[0] |= {'step_seconds': None, 'tokens_per_second': None}
  _write_lines(path / 'metrics.jsonl', reversed(records))
  stage = run_summary.read_run(str(path)).stages[0]
  assert stage.step_seconds == 0.09
  assert stage.train_seconds == pytest.approx(40 * 0.09)
  _write_lines(path / 'metrics.jsonl', records[:1])
  stage = run_summary.read_run(str(path)).stages[0]
  assert stage.step_seconds is None and stage.train_seconds == 0
  report.write_report(str(path))
  assert 'GFLOP – –' in _words(path / 'report.html')


def _write_lines(path, records):
  path.write_text(''.join(json.dumps(record) + '\n' for record in records))


def test_a_directory_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match='holds no run: schedule.json is missing'):
    report.write_report(str(tmp_path))


def test_a_mangled_schedule_is_refused(run):
  (run / 'schedule.json').write_text('{"num_steps": 3}')
  with pytest.raises(ValueError, match="cannot be read .KeyError: 'batch_size'"):
    report.write_report(str(run))


@pytest.mark.parametrize('text, expected', [
    (quantities.with_prefix(1.1e8, 'FLOP'), '110 MFLOP'),
    (quantities.with_prefix(999), '999'),
    (quantities.with_prefix(999.7e9), '1.00 T'),
    (quantities.duration(0.09), '90.0 ms'),
    (quantities.duration(90), '90.0 s'),
    (quantities.duration(354), '5.90 min'),
    (quantities.duration(36 * 3600), '36.0 h'),
    (quantities.speedup(1.0714), '+107 %'),
    (quantities.speedup(-0.25), '−25 %'),
    (quantities.percent(0.3821), '38.2 %'),
    (quantities.tiny(0), '0'),
    (quantities.tiny(3.14e-6), '3.1e-06'),
    (quantities.tiny(2.71), '2.71'),
])
def test_numbers_as_people_read_them(text, expected):
  assert text.replace('\N{NO-BREAK SPACE}', ' ') == expected
