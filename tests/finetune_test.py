"""The command `finetune`: its flags and gin files, from files to a table."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from official_ext import gin_source
from official_ext.export import conversion
from official_ext.finetune_configuration import load_finetune_config
from official_ext.mistakes import ConfigurationError
from tests.downstream import samples

FILES = [name for name in gin_source.packaged_files()
         if name.startswith('finetune/')]


def text_of(name):
  with open(gin_source.find_file(name), encoding='utf-8') as file:
    return file.read()


def command(*arguments):
  return [sys.executable, '-m', 'official_ext.finetune', *arguments]


def run(*arguments):
  return subprocess.run(
      command(*arguments), capture_output=True, text=True, check=False)


def test_help_comes_at_once():
  start = time.monotonic()
  done = subprocess.run(
      [sys.executable, '-X', 'importtime', '-m', 'official_ext.finetune',
       '--help'], capture_output=True, text=True, check=False)
  assert done.returncode == 0
  assert 'Usage: python -m official_ext.finetune [flags]' in done.stdout
  imported = {line.rsplit('|', 1)[-1].strip() for line in done.stderr.splitlines()}
  assert not imported & {'tensorflow', 'numpy', 'gin'}
  # The machine may be busy; a single import of TensorFlow takes 5 s and more.
  assert time.monotonic() - start < 3


def test_the_last_setting_wins_and_the_text_gives_the_same(tmp_path):
  config, text, mistakes = load_finetune_config(
      ['finetune/paper_grid.gin'], ['SEEDS = (5,)', 'finetune.num_epochs = 4'],
      {'task': 'rte', 'task_dir': 'RTE', 'checkpoint': 'run',
       'output_dir': 'out', 'tpu': None})
  assert not mistakes
  assert (config.task, config.num_epochs, config.seeds) == ('rte', 4, (5,))
  # Appendix A of the paper.
  assert config.batch_sizes == (16, 32, 64)
  assert config.learning_rates == (3e-4, 1e-4, 5e-5, 3e-5)
  (tmp_path / 'config.gin').write_text(text)
  assert load_finetune_config([str(tmp_path / 'config.gin')], [], {}) == (
      config, text, [])


@pytest.mark.parametrize('params, message', [
    (['finetune.epochs = 3'],
     '--gin_params "finetune.epochs = 3": finetune has no parameter '
     "'epochs'; did you mean 'num_epochs'?"),
    (['EPOCHS = 3'],
     "--gin_params \"EPOCHS = 3\": nothing uses the macro 'EPOCHS'"),
    (['finetune.seeds = %NONE'],
     '--gin_params "finetune.seeds = %NONE": finetune.seeds uses the macro '
     "'%NONE', which is not defined"),
    (['train.num_steps = 3'],
     '--gin_params "train.num_steps = 3": nothing called \'train\' can be '
     'configured; known: finetune'),
])
def test_mistakes_in_gin_are_told(params, message):
  with pytest.raises(ConfigurationError) as error:
    load_finetune_config([], params, {})
  assert str(error.value).startswith(message)


def test_mistakes_in_values_say_where_they_stand(tmp_path):
  path = tmp_path / 'mine.gin'
  path.write_text("finetune.seq_length = 'long'\nN = 0\nfinetune.num_epochs = %N\n")
  _, _, mistakes = load_finetune_config(
      [str(path)], [], {'task': 'colla', 'task_dir': 'x', 'checkpoint': 'x',
                        'output_dir': 'x'})
  assert [line.split(';')[0] for line in mistakes] == [
      "task is 'colla'", f'{path}:2: finetune.num_epochs is 0',
      f"{path}:1: finetune.seq_length is 'long'"]


@pytest.mark.parametrize('name', FILES)
def test_the_shipped_files_say_what_they_are_and_load(name):
  header = text_of(name).split('\n\n')[0]
  assert all(line.startswith('#') for line in header.splitlines())
  for part in ('Required to be set:', 'Commonly overridden:',
               'Expected result:'):
    assert part in header
  lines = [line.removeprefix('#').strip() for line in header.splitlines()]
  start = next(i for i, line in enumerate(lines) if 'official_ext.finetune' in line)
  words = lines[start]
  while words.endswith('\\'):
    start += 1
    words = words[:-1] + lines[start]
  words = iter(shlex.split(words)[3:])
  flags = {flag.removeprefix('--'): next(words) for flag in words}
  assert flags.pop('gin_file') == name
  config, _, mistakes = load_finetune_config([name], [], flags)
  assert not mistakes
  assert config.trials()
  assert all(macro.isupper() for macro in re.findall(
      r'^(\w+) *=', text_of(name), flags=re.MULTILINE))


@pytest.mark.slow  # Of the process's start; the mistakes are tested in their room.
def test_all_mistakes_are_lines_of_one_error(tmp_path):
  done = run(f'--task_dir={tmp_path}', '--task=rte', '--checkpoint=nowhere',
             f'--output_dir={tmp_path}/out',
             '--gin_params=finetune.output_dropout = 2.0')
  assert done.returncode == 2
  assert done.stderr.splitlines() == [
      'error: 4 mistakes:',
      '  --gin_params "finetune.output_dropout = 2.0": finetune.output_dropout is '
      '2.0; give a number of at least 0 and below 1',
      '  checkpoint: nowhere has no checkpoint; give a run directory of `train`, a '
      'directory that `grow` or `convert` wrote, or the prefix of a checkpoint '
      '(folder/ckpt-100)',
      f'  {tmp_path}/train.tsv is missing; give --task_dir the folder with the '
      'files of RTE as GLUE distributes them',
      f'  {tmp_path}/dev.tsv is missing; give --task_dir the folder with the files '
      'of RTE as GLUE distributes them']
  assert not os.path.exists(tmp_path / 'out')


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_where_it_was(tmp_path):
  glue = samples.write_glue(str(tmp_path / 'glue'), train=400)
  # A directory of Hugging Face is converted on the way.
  checkpoint = str(tmp_path / 'hugging_face')
  conversion.to_hugging_face(
      samples.write_checkpoint(str(tmp_path / 'bert')), checkpoint)

  def arguments(output_dir):
    return [
        '--task=sst2', f'--task_dir={glue}/SST-2', f'--checkpoint={checkpoint}',
        f'--output_dir={tmp_path / output_dir}',
        '--gin_params=finetune.batch_sizes = (4,)',
        '--gin_params=finetune.learning_rates = (3e-3, 1e-2)',
        '--gin_params=finetune.checkpoint_interval_steps = 20']

  whole = run(*arguments('whole'))
  assert whole.returncode == 0, whole.stderr
  trials = tmp_path / 'killed' / 'trials'
  second = trials / 'batch4_rate0.01_seed0' / 'checkpoints'
  process = subprocess.Popen(
      command(*arguments('killed')), stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL)
  while not list(second.glob('ckpt-*.index')):
    assert process.poll() is None
    time.sleep(0.05)
  process.send_signal(signal.SIGKILL)
  process.wait()
  resumed = run(*arguments('killed'))
  assert resumed.returncode == 0, resumed.stderr
  for name in ('results.json', 'scores.json', 'scores.md',
               'predictions/SST-2.tsv'):
    assert (tmp_path / 'killed' / name).read_bytes() == (
        tmp_path / 'whole' / name).read_bytes()
  assert json.loads((tmp_path / 'whole' / 'scores.json').read_text())[
      'checkpoint']['sst2']['accuracy'] > 0.9
  table = (tmp_path / 'whole' / 'scores.md').read_text()
  assert table.startswith('|  | SST-2 |\n| --- | --- |\n| checkpoint | ')
  assert 'SST-2' in whole.stdout
