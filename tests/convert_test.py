"""The command `convert`."""

import os
import subprocess
import sys
import time

from tests.export import huggingface_test
from tests.export import numpy_huggingface
from tests.forked_command import run_command


def _command(tmp_path, *arguments):
  return run_command(tmp_path, 'official_ext.convert', *arguments)


def test_help_comes_at_once_without_tensorflow():
  start = time.monotonic()
  done = subprocess.run(
      [sys.executable, '-X', 'importtime', '-m', 'official_ext.convert',
       '--help'], capture_output=True, text=True, check=False)
  seconds = time.monotonic() - start
  assert done.returncode == 0
  assert 'Usage: python -m official_ext.convert [flags]' in done.stdout
  for flag in ('--from', '--to', '--input', '--output_dir'):
    assert flag in done.stdout
  imported = {line.rsplit('|', 1)[-1].strip() for line in done.stderr.splitlines()}
  assert not imported & {'tensorflow', 'numpy', 'safetensors'}
  # The machine may be busy; a single import of TensorFlow takes 5 s and more.
  assert seconds < 3


def test_it_converts_and_says_what(tmp_path):
  source = huggingface_test.write(
      tmp_path / 'there',
      numpy_huggingface.random_tensors(next_sentence=False, pooler=False))
  done = _command(tmp_path, '--from=huggingface', '--to=model_garden',
                  f'--input={source}', f'--output_dir={tmp_path}/here')
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == [
      '2 layers, 8 wide, 2 heads of 4, 12 inner units, vocabulary of 13; '
      'gelu_erf, LayerNorm epsilon 0.001; 1,381 weights',
      'with the encoder: masked-LM head',
      "Model Garden's encoder always has a pooler; it is zeros here."]
  assert sorted(os.listdir(tmp_path / 'here')) == [
      'architecture.json', 'checkpoint', 'ckpt-0.data-00000-of-00001',
      'ckpt-0.index', 'vocab.txt']


def test_mistakes_are_one_line(tmp_path):
  done = _command(tmp_path, '--from=huggingface', '--to=huggingface',
                  '--input=x', '--output_dir=y')
  assert done.returncode == 2
  assert done.stderr == (
      'error: --from and --to are both huggingface; give one of each of '
      'huggingface and model_garden.\n')
  done = _command(tmp_path, '--from=model_garden', '--to=huggingface',
                  f'--input={tmp_path}', f'--output_dir={tmp_path}/new')
  assert done.returncode == 2
  assert done.stderr.startswith(f'error: {tmp_path} has no checkpoint; give')
  assert done.stderr.count('\n') == 1
