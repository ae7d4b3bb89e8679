"""Apache Beam makes the bytes of the local runner."""

import gzip
import importlib.util
import json
import os
import random
import subprocess
import sys

import pytest

_WORDS = 'ba do ki lu me no ra ti basha doven kimoku lupal metir nogon razu'.split()

# In a process of its own, where small blocks make many chunks and gatherings.
_PROGRAM = '''
import json, sys
from official_ext.data import build, corpus, reader
from official_ext.data.settings import PrepareSettings
reader.BLOCK_BYTES, corpus.GATHER_BLOCKS, corpus.GATHERED_TOKENS = 2000, 3, 150
corpus._GATHER_BYTES = 20_000
inputs, output, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
for objective in ('masked_lm', 'causal_lm'):
  settings = PrepareSettings(
      objective=objective, vocab_size=60, seq_length=32, num_shards=3,
      eval_fraction=0.1, seed=7, on_bad_text='skip', **options)
  for runner in ('local', 'beam'):
    build.prepare(f'{output}/{objective}/{runner}', [inputs], settings,
                  num_workers=1 if runner == 'local' else None, runner=runner)
'''

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('apache_beam') is None,
    reason='Apache Beam (extra beam) is not installed')


@pytest.fixture(name='inputs')
def _inputs(tmp_path):
  """A long file, short ones, two formats, and lines that are not UTF-8."""
  rng = random.Random(3)
  folder = tmp_path / 'in'
  folder.mkdir()

  def document():
    return '\n'.join(
        ' '.join(rng.choices(_WORDS, k=rng.randint(4, 12))) + '.'
        for _ in range(rng.randint(3, 9)))

  for number, size in enumerate((250, 4, 5, 30)):
    text = '\n\n'.join(document() for _ in range(size))
    (folder / f'{number}.txt').write_bytes(text.encode() + b'\n\n\xff\n')
  (folder / '4.txt.gz').write_bytes(gzip.compress(
      '\n\n'.join(document() for _ in range(60)).encode()))
  (folder / '5.jsonl').write_text(''.join(
      json.dumps({'text': document()}) + '\n' for _ in range(60)) + '{}\n')
  return folder


def run_both(inputs, output, **options):
  done = subprocess.run(
      [sys.executable, '-c', _PROGRAM, f'{inputs}/*', str(output),
       json.dumps(options)], capture_output=True, text=True, check=False,
      timeout=600)
  assert done.returncode == 0, done.stderr


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('options', [{}, pytest.param(
    {'max_input_bytes': 30_000}, marks=pytest.mark.slow)])
def test_beam_writes_the_bytes_of_the_local_runner(inputs, tmp_path, options):
  run_both(inputs, tmp_path / 'out', **options)
  for objective in ('masked_lm', 'causal_lm'):
    local = contents(tmp_path / 'out' / objective / 'local')
    beam = contents(tmp_path / 'out' / objective / 'beam')
    assert len(local) == 3 + 3 + 1  # Three shards, one held out, three more.
    assert json.loads(local['manifest.json'])['corpus']['skipped_lines'] == (
        5 if not options else 1)
    assert local == beam


def prepare(*arguments):
  return subprocess.run(
      [sys.executable, '-m', 'official_ext.prepare', *arguments],
      capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_two_worker_processes_and_a_remote_directory(inputs, tmp_path):
  """`file://` takes the way of `gs://`: finished shards are gathered there."""
  arguments = (f'--input={inputs}/[0-3].txt', '--vocab_size=60', '--seq_length=32',
               '--max_predictions_per_seq=5', '--num_shards=3',
               '--eval_fraction=0.1', '--on_bad_text=skip')
  beam = prepare(
      *arguments, '--runner=beam', f'--output_dir=file://{tmp_path}/beam',
      '--beam_pipeline_options=direct_running_mode=multi_processing',
      '--beam_pipeline_options=direct_num_workers=2')
  assert beam.returncode == 0, beam.stderr
  local = prepare(*arguments, f'--output_dir={tmp_path}/local')
  assert local.returncode == 0, local.stderr
  assert contents(tmp_path / 'beam') == contents(tmp_path / 'local')


def test_bad_text_is_one_line_from_beam_too(inputs, tmp_path):
  done = prepare(f'--input={inputs}/1.txt', '--runner=beam', '--vocab_file='
                 + str(write_vocabulary(tmp_path)), f'--output_dir={tmp_path}/out')
  lines = [line for line in done.stderr.splitlines() if line.startswith('error')]
  assert done.returncode == 2, done.stderr
  (line,) = lines
  assert line.startswith(f'error: {inputs}/1.txt, line ')
  assert line.endswith(': not UTF-8 (byte 0xff); convert the file to UTF-8, or '
                       'skip such lines with --on_bad_text=skip')
  assert not os.path.exists(tmp_path / 'out')


def write_vocabulary(folder):
  path = folder / 'vocab.txt'
  path.write_text('\n'.join(
      ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *_WORDS, '.']))
  return path


@pytest.mark.parametrize('flags, message', [
    (['--num_workers=2'], 'num_workers is 2, but Beam has workers of its own; give '
     'its options, such as --beam_pipeline_options=direct_num_workers=2,'),
    (['--beam_pipeline_options=colour=blue'], '--beam_pipeline_options: Beam does '
     "not know colour=blue; give NAME=VALUE or NAME of its own options")])
def test_options_that_beam_cannot_use(inputs, tmp_path, flags, message):
  done = prepare(
      f'--input={inputs}/1.txt', f'--output_dir={tmp_path}/out', '--runner=beam',
      '--vocab_file=' + str(write_vocabulary(tmp_path)), *flags)
  assert done.returncode == 2
  assert f'error: {message}' in done.stderr
