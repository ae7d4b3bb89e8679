"""Every gin file that ships binds, validates and says how it is used."""

import ast
import dataclasses
import pathlib
import re
import shlex

import pytest

from official_ext import gin_source
from official_ext.configuration import load_config
from official_ext.growth.architecture import Architecture
from official_ext.mistakes import ConfigurationError
from official_ext.schedules import compound_grow
from official_ext.schedules import scratch
from official_ext.schedules import stack
from official_ext.training.run_config import PretrainConfig

FILES = gin_source.packaged_files()

# What has to come beside a file for a whole run.
COMPANIONS = {
    'models': ['schedules/scratch.gin', 'runs/pretrain.gin'],
    'schedules': ['models/bert_base.gin', 'runs/pretrain.gin'],
    'runs': ['models/bert_base.gin', 'schedules/compound_grow.gin'],
    'experiments': [],
}

SIZES = {  # layers, hidden, heads: Model Garden's and Google's BERT checkpoints
    'tiny': (2, 128, 2),
    'mini': (4, 256, 4),
    'small': (4, 512, 8),
    'base': (12, 768, 12),
    'large': (24, 1024, 16),
}


def text_of(name):
  with open(gin_source.find_file(name), encoding='utf-8') as file:
    return file.read()


def load(name, *params):
  kind = name.split('/')[0]
  knobs = [] if kind == 'experiments' else ['NUM_STEPS = 1_000_000']
  needs_tpu = "STRATEGY = 'tpu'" in text_of(name)
  config, text = load_config(
      [name, *COMPANIONS[kind]], knobs + list(params),
      tpu='local' if needs_tpu else None, require_directories=False)
  return config, text


def test_the_files_that_are_promised_are_there():
  assert set(FILES) == {
      *(f'models/bert_{size}.gin' for size in SIZES),
      *(f'schedules/{name}.gin'
        for name in ('scratch', 'stack', 'compound_grow', 'compound_grow_k4')),
      'runs/pretrain.gin',
      *(f'experiments/{name}_{size}.gin'
        for name in ('scratch', 'stack', 'compound_grow')
        for size in ('base', 'large')),
      'experiments/quickstart.gin',
  }


@pytest.mark.parametrize('name', FILES)
def test_it_binds_and_validates(name, tmp_path):
  config, text = load(name)
  resolved = tmp_path / 'config.gin'
  resolved.write_text(text)
  assert load_config([str(resolved)], require_directories=False) == (config, text)


@pytest.mark.parametrize('name', FILES)
def test_the_header_says_what_how_and_what_to_expect(name):
  header = text_of(name).split('\n\n')[0]
  assert all(line.startswith('#') for line in header.splitlines())
  for part in ('python -m official_ext.train', 'Required to be set:',
               'Commonly overridden:', 'Expected result:'):
    assert part in header
  assert name in header


@pytest.mark.parametrize('name', FILES)
def test_the_command_in_the_header_loads(name):
  header = text_of(name).split('\n\n')[0]
  lines = [line.removeprefix('#').strip() for line in header.splitlines()]
  start = next(i for i, line in enumerate(lines) if 'official_ext.train' in line)
  command = lines[start]
  while command.endswith('\\'):
    start += 1
    command = command[:-1] + lines[start]
  words = iter(shlex.split(command)[3:])
  flags = {}
  for flag in words:
    flags.setdefault(flag.removeprefix('--'), []).append(next(words))
  assert set(flags) <= {'gin_file', 'gin_params', 'tpu', 'data_dir', 'model_dir'}
  load_config(flags['gin_file'], flags.get('gin_params', ()),
              tpu=flags.get('tpu', [None])[0], require_directories=False)


@pytest.mark.parametrize('name', FILES)
def test_macros_are_knobs_in_capitals(name):
  defined = re.findall(r'^(\w+) *=', text_of(name), flags=re.MULTILINE)
  assert all(macro.isupper() for macro in defined)


@pytest.mark.parametrize('size', SIZES)
def test_models_have_the_published_sizes(size):
  layers, hidden, heads = SIZES[size]
  assert load(f'models/bert_{size}.gin')[0].architecture == Architecture(
      num_layers=layers, hidden_size=hidden, num_heads=heads,
      inner_size=4 * hidden, vocab_size=30522, max_positions=512)


@pytest.mark.parametrize('name, schedule', [
    ('scratch', scratch()),
    ('stack', stack()),
    ('compound_grow', compound_grow(ffn_sharing=2)),
    ('compound_grow_k4', compound_grow(ffn_sharing=4)),
])
def test_schedules_are_the_papers(name, schedule):
  assert load(f'schedules/{name}.gin')[0].schedule == schedule


@pytest.mark.parametrize('name', [
    name for name in FILES if re.search('experiments/.*_(base|large)', name)])
def test_experiments_have_the_papers_settings(name):
  config, _ = load(name)
  assert (config.num_steps, config.batch_size) == (1_000_000, 256)
  assert (config.peak_learning_rate, config.warmup_steps) == (1e-4, 10_000)
  assert (config.weight_decay_rate, config.optimizer) == (0.01, 'adamw')
  assert (config.num_predictions, config.strategy) == (76, 'tpu')
  assert config.architecture.sequence_length == 512


def test_the_quickstart_passes_through_all_four_stages():
  config, _ = load('experiments/quickstart.gin')
  stages = config.schedule.resolve(config.architecture, config.num_steps)
  assert [stage.architecture.num_layers for stage in stages] == [1, 2, 4, 4]
  assert [stage.architecture.is_treated for stage in stages] == [
      True, True, True, False]
  assert config.architecture.sequence_length == 128


def test_knobs_of_an_include_can_be_turned_on_the_command_line():
  config, _ = load('experiments/compound_grow_base.gin', 'FFN_SHARING = 4',
                   'VOCAB_SIZE = 8192', 'SEQUENCE_LENGTH = 128')
  assert config.schedule == compound_grow(ffn_sharing=4)
  assert config.architecture.vocab_size == 8192
  assert config.architecture.sequence_length == 128


def test_the_documentation_lists_every_parameter_and_its_default():
  docs = pathlib.Path(gin_source.__file__).parents[1] / 'docs' / 'configure.md'
  rows = [line.split('|')[1:3] for line in docs.read_text().splitlines()
          if line.startswith('| `')]
  documented = {
      name: default.strip().strip('`') for names, default in rows
      for name in re.findall(r'`(\w+)`', names)}
  for field in dataclasses.fields(PretrainConfig):
    stated = documented[field.name]
    if field.default in (dataclasses.MISSING, None) and stated == 'required':
      continue
    assert ast.literal_eval(stated) == field.default, field.name


def test_the_mistakes_in_the_documentation_are_real():
  docs = pathlib.Path(gin_source.__file__).parents[1] / 'docs' / 'configure.md'
  shown = docs.read_text().split('error: 4 mistakes:\n')[1].split('```')[0]
  with pytest.raises(ConfigurationError) as caught:
    load_config(['experiments/quickstart.gin'],
                ['train.data_dir = gs://bucket/data', 'BATCHSIZE = 64',
                 'train.num_stepz = 9'])
  assert [line.strip() for line in shown.splitlines()] == list(
      caught.value.mistakes)
