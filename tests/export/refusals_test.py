"""Runs that cannot be exported, and what is said of them."""

import os
import shutil
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from official_ext.export.run_model import load_run_model
from official_ext.export.saved_model import export_saved_model
from tests.export import tiny_run
from tests.forked_command import run_command


@pytest.fixture(scope='module')
def finished_run(tmp_path_factory):
  path = tmp_path_factory.mktemp('finished')
  tiny_run.write_run(path)
  return path


@pytest.fixture
def run(finished_run, tmp_path):
  return shutil.copytree(finished_run, tmp_path / 'run')


def _message(path, **options):
  with pytest.raises(ValueError) as error:
    export_saved_model(str(path), **options)
  assert '\n' not in str(error.value)
  return str(error.value)


def test_no_run(tmp_path):
  assert _message(tmp_path) == (
      f'{tmp_path} is neither a run of `train` (no schedule.json) nor a '
      f'fine-tuned model (no task.json); and {tmp_path} has no checkpoint; give '
      'a run directory of `train`, a directory that `grow` or `convert` wrote, '
      'or the prefix of a checkpoint (folder/ckpt-100).')


def test_no_checkpoint(run):
  shutil.rmtree(run / 'checkpoints')
  assert _message(run) == (
      f'{run} has no checkpoint in checkpoints/; train it first, or give the '
      'model_dir of a run that has been trained.')


@pytest.mark.parametrize('name', ['vocab.txt', 'data_manifest.json'])
def test_no_vocabulary(run, name):
  os.remove(run / name)
  assert _message(run).startswith(
      f'{run} has no {name}; copy it from the data directory that the run was '
      'trained on')


def test_another_vocabulary(run):
  with open(run / 'vocab.txt', 'a', encoding='utf-8') as file:
    file.write('another\n')
  assert 'vocab.txt has 21 pieces, the model 20; put back' in _message(run)


def test_numbers_and_signatures(run):
  assert _message(run, signatures=['embde']) == (
      'signatures are embde; of this model (bert) give one or more of '
      'serving_default,token_ids,embed,embed_token_ids.')
  assert _message(run, signatures=[]).startswith('signatures are none; of this model')
  assert _message(run, top_k=21) == 'top_k is 21; give 1 to 20.'
  assert _message(run, max_masks=0) == 'max_masks is 0; give 1 to 14.'


def test_damaged_checkpoint(run):
  (data,) = (run / 'checkpoints').glob('ckpt-10.data*')
  data.write_bytes(data.read_bytes()[:100])
  with pytest.raises(ValueError, match='checkpoints in .* can be read'):
    load_run_model(str(run), warn=lambda line: None)


def test_unfinished_run_is_refused_unless_wanted(tmp_path):
  trained = tiny_run.write_run(tmp_path, step=3)
  message = _message(tmp_path)
  assert ("ckpt-3 is from step 3 of 10, in stage 'half' with 1 of 2 layers, "
          'treated.' in message)
  assert '--allow_unfinished' in message
  run = load_run_model(str(tmp_path), allow_unfinished=True)
  assert run.architecture == tiny_run.STAGE.replace(query_pool_size=1)
  ids = tf.constant([[2, 5, 4, 7, 3] + [0] * 11])
  features = {'input_word_ids': ids, 'input_mask': tf.cast(ids > 0, tf.int32),
              'input_type_ids': tf.zeros_like(ids),
              'masked_lm_positions': tf.constant([[2, 0, 0]])}
  tf.debugging.assert_near(
      run.model(features, training=False)['mlm_logits'],
      trained.comparison_logits(features), 1e-6)


def test_command_helps_at_once():
  start = time.monotonic()
  finished = subprocess.run(
      [sys.executable, '-m', 'official_ext.export_model', '--help'],
      capture_output=True, text=True, check=False)
  assert finished.returncode == 0
  assert '--allow_unfinished' in finished.stdout.replace('[no]', '')
  # One second on an idle machine; the suite keeps both cores busy.
  assert time.monotonic() - start < 5
  imported = subprocess.run(
      [sys.executable, '-c', 'import sys; from official_ext import export_model;'
       'assert "tensorflow" not in sys.modules'], check=False)
  assert imported.returncode == 0


def test_command_fills_a_mask(run, tmp_path):
  finished = run_command(
      tmp_path, 'official_ext.export_model', f'--model_dir={run}',
      '--signatures=serving_default', '--try=The function returns a [MASK].')
  assert finished.returncode == 0, finished.stderr
  lines = finished.stdout.splitlines()
  assert lines[0] == f'SavedModel: {run}/saved_model/1'
  assert lines[2] == 'The function returns a [MASK].'
  assert sum('%' in line for line in lines) == 5


def test_command_s_error_is_one_line(tmp_path):
  finished = run_command(
      tmp_path, 'official_ext.export_model', f'--model_dir={tmp_path}')
  assert finished.returncode == 2
  (line,) = finished.stderr.splitlines()
  assert line.startswith(f'error: {tmp_path} is neither a run of `train` ')
  finished = run_command(
      tmp_path, 'official_ext.export_model', '--model_dir=x',
      '--signatures=embed', '--try=[MASK]')
  assert 'add it to --signatures' in finished.stderr
