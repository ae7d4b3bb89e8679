"""`python -m official_ext.prepare`: quick help, and errors of one line."""

import os
import subprocess
import sys
import time

import pytest

from official_ext.data.settings import PrepareSettings
from official_ext.data.workers import InProcess


def _run(*arguments: str) -> subprocess.CompletedProcess:
  return subprocess.run(
      [sys.executable, '-m', 'official_ext.prepare', *arguments],
      capture_output=True, text=True, env={
          name: value for name, value in os.environ.items()
          if name != 'TF_CPP_MIN_LOG_LEVEL'})  # Which conftest.py lowers.


def test_help_is_quick_and_complete():
  seconds = []
  for _ in range(2):  # The machine may be busy with something else.
    start = time.monotonic()
    done = _run('--help')
    seconds.append(time.monotonic() - start)
  assert done.returncode == 0
  for name in ('input', 'output_dir', 'vocab_size', 'vocab_file', 'seq_length',
               'max_predictions_per_seq', 'seed', 'lower_case', 'num_workers',
               'whole_word_masking', 'dupe_factor', 'eval_fraction', 'num_shards',
               'masked_lm_probability', 'short_sequence_probability', 'objective'):
    assert f'--{name}' in done.stdout or f'--[no]{name}' in done.stdout
  assert min(seconds) < 1


@pytest.mark.parametrize('arguments,message', [
    ([], 'error: --output_dir is missing'),
    (['--output_dir={tmp}/o', '--input={tmp}/none.txt'],
     "error: --input '{tmp}/none.txt' matches no file"),
    (['--output_dir={tmp}/o', '--input='], 'error: --input is empty; leave'),
    (['--output_dir={tmp}/o', '--seq_length=4'],
     'error: seq_length is 4; give a whole number from 8 to 32768'),
    (['--output_dir={tmp}/o', '--input={tmp}/a.txt', '--vocab_file={tmp}/no'],
     'error: no vocabulary file {tmp}/no'),
    (['--output_dir={tmp}/a.txt', '--input={tmp}/a.txt'],
     'error: --output_dir {tmp}/a.txt is a file; give a directory'),
    (['--output_dir={tmp}/o', '--objective=causal_lm', '--nowhole_word_masking'],
     'error: whole_word_masking is False, but objective causal_lm pairs and masks'
     ' nothing; leave out whole_word_masking, or give objective masked_lm'),
    (['--output_dir={tmp}/o', '--input={tmp}/a.txt', '--num_workers=0'],
     'error: num_workers is 0; give a whole number of at least 1'),
])
def test_one_line_says_what_is_wrong(tmp_path, arguments, message):
  (tmp_path / 'a.txt').write_text('Some text.')
  done = _run(*(a.format(tmp=tmp_path) for a in arguments))
  assert done.returncode == 2
  assert done.stdout == ''
  assert done.stderr.startswith(message.format(tmp=tmp_path))
  assert done.stderr.count('\n') == 1
  assert not (tmp_path / 'o').exists()


def test_an_error_in_a_worker_is_one_line_too(tmp_path):
  (tmp_path / 'a.txt').write_bytes(b'Good text.\n\n' * 9 + b'\xff\n')
  (tmp_path / 'vocab.txt').write_text('\n'.join(
      ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'good', 'text', '.']))
  arguments = [f'--output_dir={tmp_path}/o', f'--input={tmp_path}/a.txt',
               f'--vocab_file={tmp_path}/vocab.txt', '--num_workers=2']
  done = _run(*arguments)
  assert done.returncode == 2
  assert done.stderr == (
      f'error: {tmp_path}/a.txt, line 19: not UTF-8 (byte 0xff); convert the '
      'file to UTF-8, or skip such lines with --on_bad_text=skip\n')
  assert not (tmp_path / 'o').exists()


def test_causal_data_and_how_much_of_it_is_padding(tmp_path):
  # 40 documents of 7 tokens and a [SEP].
  (tmp_path / 'a.txt').write_text('Good text good text good text.\n\n' * 40)
  (tmp_path / 'vocab.txt').write_text('\n'.join(
      ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'good', 'text', '.']))
  done = _run(
      f'--output_dir={tmp_path}/o', f'--input={tmp_path}/a.txt',
      f'--vocab_file={tmp_path}/vocab.txt', '--objective=causal_lm',
      '--seq_length=64', '--eval_fraction=0', '--num_workers=1')
  # 320 tokens, 63 a sequence: 6 sequences, 384 slots, of them 58 padding.
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith(
      f'{tmp_path}/o: 6 train examples of 64 tokens, 15.1% padding, 8 pieces (')


@pytest.mark.parametrize('field,value,message', [
    ('max_predictions_per_seq', 126,
     'max_predictions_per_seq is 126; give a whole number from 1 to seq_length - '
     '3 = 125'),
    ('masked_lm_probability', 0, 'masked_lm_probability is 0; give a number above 0'),
    ('short_sequence_probability', -1, 'short_sequence_probability is -1; give'),
    ('dupe_factor', 0, 'dupe_factor is 0; give a whole number from 1'),
    ('eval_fraction', 1.0, 'eval_fraction is 1.0; give a number from 0'),
    ('num_shards', 0, 'num_shards is 0; give'),
    ('vocab_size', 5, 'vocab_size is 5; give a whole number from 6'),
    ('max_input_bytes', 0, 'max_input_bytes is 0; give'),
    ('seed', -1, 'seed is -1; give'),
])
def test_settings_are_checked(field, value, message):
  with pytest.raises(ValueError, match=message):
    PrepareSettings(**{field: value})


def test_all_mistakes_at_once():
  with pytest.raises(ValueError, match='seq_length is 1;.*dupe_factor is 0;'):
    PrepareSettings(seq_length=1, dupe_factor=0, max_predictions_per_seq=1)


def test_in_process_tasks_run_when_submitted():
  assert InProcess().submit(max, 1, 2).result() == 2
