"""Every gin file that ships binds, validates and says how it is used."""

import ast
import dataclasses
import json
import pathlib
import re
import shlex

import pytest

from official_ext import gin_source
from official_ext import schedules
from official_ext.configuration import load_config
from official_ext.growth.architecture import Architecture
from official_ext.mistakes import ConfigurationError
from official_ext.schedules import compound_grow
from official_ext.training.run_config import PretrainConfig

# Those of a run; tests/finetune_test.py has those of a fine-tuning.
FILES = [name for name in gin_source.packaged_files()
         if not name.startswith('finetune/')]

# What has to come beside a file for a whole run.
COMPANIONS = {
    'models': ['schedules/scratch.gin', 'runs/pretrain.gin'],
    'schedules': ['models/bert_base.gin', 'runs/pretrain.gin'],
    'runs': ['models/bert_base.gin', 'schedules/compound_grow.gin'],
    'experiments': [],
}

# The same for a GPT.
GPT_COMPANIONS = {
    'models': ['schedules/scratch.gin', 'runs/pretrain_gpt.gin'],
    'runs': ['models/gpt_base.gin', 'schedules/stack.gin'],
    'experiments': [],
}

# Layers, hidden, heads, vocabulary, positions.
SIZES = {
    # Model Garden's and Google's BERT checkpoints.
    'bert_tiny': (2, 128, 2, 30522, 512),
    'bert_mini': (4, 256, 4, 30522, 512),
    'bert_small': (4, 512, 8, 30522, 512),
    'bert_base': (12, 768, 12, 30522, 512),
    'bert_large': (24, 1024, 16, 30522, 512),
    # bert2BERT's small model, and GPT-3's smallest shape.
    'bert_512': (12, 512, 8, 30522, 512),
    'gpt_512': (12, 512, 8, 30522, 1024),
    'gpt_base': (12, 768, 12, 30522, 1024),
    'gpt_tiny': (2, 128, 2, 30522, 512),
    # all-MiniLM-L6, and what it can grow to.
    'bert_minilm': (6, 384, 12, 30522, 512),
    'bert_minilm_576': (6, 576, 18, 30522, 512),
    'bert_minilm_grown': (12, 768, 24, 30522, 512),
}
MICRO = dict(num_layers=4, hidden_size=48, num_heads=6, inner_size=96,
             vocab_size=1000, max_positions=32)

# What bert2bert experiments grow from.
SOURCES = {
    'bert2bert_base': 'bert_512', 'bert2bert_gpt_base': 'gpt_512',
    'bert2bert_minilm': 'bert_minilm', 'bert2bert_tiny': 'bert_nano',
    'bert2bert_gpt_tiny': 'gpt_nano', 'bert2bert': 'bert_512',
}

METHODS = ('stack_bert', 'mslt', 'bert2bert', 'bert2bert_from_small', 'net2net',
           'direct_copy', 'data_truncation', 'ffn_factorization')
GPT_METHODS = ('scratch', 'stack', 'mslt', 'bert2bert')
PAPERS = ('scratch', 'stack', 'compound_grow')


def text_of(name):
  with open(gin_source.find_file(name), encoding='utf-8') as file:
    return file.read()


def is_gpt(name):
  return 'gpt' in name


def companions(name):
  found = (GPT_COMPANIONS if is_gpt(name) else COMPANIONS)[name.split('/')[0]]
  if re.search('micro|nano', name):  # Too short for the paper's predictions.
    found = [other.replace('pretrain', 'tiny') for other in found]
  return found


@pytest.fixture(name='load', scope='module')
def _load(tmp_path_factory):
  """Loads a file with what has to be set for it."""
  sources = {}

  def source(model):
    """A checkpoint of a model, as far as its architecture is asked for."""
    if model not in sources:
      import tensorflow as tf
      folder = tmp_path_factory.mktemp(model)
      architecture = load(f'models/{model}.gin')[0].architecture
      (folder / 'architecture.json').write_text(json.dumps(
          {'architecture': dataclasses.asdict(architecture)}))
      tf.train.Checkpoint(step=tf.Variable(0)).save(str(folder / 'ckpt'))
      sources[model] = str(folder)
    return sources[model]

  def required(name):
    """What a file asks its user for."""
    stem = name.split('/')[1].removesuffix('.gin')
    if stem in SOURCES:
      return [f'INIT_CHECKPOINT = {source(SOURCES[stem])!r}']
    return ["SHORT_DATA_DIR = 'SHORT'"] if 'data_truncation' in stem else []

  def load(name, *params):
    knobs = required(name)
    if not name.startswith('experiments'):
      knobs.append('NUM_STEPS = 1_000_000')
    needs_tpu = "STRATEGY = 'tpu'" in text_of(name)
    return load_config(
        [name, *companions(name)], [*knobs, *params],
        tpu='local' if needs_tpu else None, require_directories=False)

  load.required = required
  return load


def test_the_files_that_are_promised_are_there():
  assert set(FILES) == {
      *(f'models/{name}.gin' for name in (
          *SIZES, 'bert_micro', 'bert_nano', 'gpt_micro', 'gpt_nano')),
      *(f'schedules/{name}.gin' for name in (
          *PAPERS, *METHODS, 'compound_grow_k2', 'stack_interleave',
          'stack_middle', 'bert2bert_exact')),
      *(f'runs/{name}.gin'
        for name in ('pretrain', 'pretrain_gpt', 'tiny', 'tiny_gpt')),
      *(f'experiments/{name}_{size}.gin' for name in PAPERS
        for size in ('tiny', 'base', 'large')),
      *(f'experiments/{name}_{size}.gin' for name in METHODS
        for size in ('tiny', 'base')),
      *(f'experiments/{name}_tiny.gin' for name in (
          'stack_interleave', 'stack_middle', 'bert2bert_exact')),
      *(f'experiments/{name}_gpt_{size}.gin' for name in GPT_METHODS
        for size in ('tiny', 'base')),
      'experiments/bert2bert_minilm.gin',
      'experiments/quickstart.gin',
      'experiments/stack_bert_published_base.gin',
  }


@pytest.mark.parametrize('name', FILES)
def test_it_binds_and_validates(name, load, tmp_path):
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
def test_the_command_in_the_header_loads(name, load):
  header = text_of(name).split('\n\n')[0]
  lines = [line.removeprefix('#').strip() for line in header.splitlines()]
  # The last one: what comes before it makes what it reads.
  start = max(i for i, line in enumerate(lines) if 'official_ext.train' in line)
  command = lines[start]
  while command.endswith('\\'):
    start += 1
    command = command[:-1] + lines[start]
  words = iter(shlex.split(command)[3:])
  flags = {}
  for flag in words:
    flags.setdefault(flag.removeprefix('--'), []).append(next(words))
  assert set(flags) <= {'gin_file', 'gin_params', 'tpu', 'data_dir', 'model_dir'}
  assert any('/' + name in '/' + given for given in flags['gin_file'])
  # What the user would put in the place of an example.
  given = [param.split(' =')[0] for param in flags.get('gin_params', ())]
  assert all(knob.split(' =')[0] in given for knob in load.required(name))
  load_config(flags['gin_file'], [*flags.get('gin_params', ()), *load.required(name)],
              tpu=flags.get('tpu', [None])[0], require_directories=False)


@pytest.mark.parametrize('name', FILES)
def test_macros_are_knobs_in_capitals(name):
  defined = re.findall(r'^(\w+) *=', text_of(name), flags=re.MULTILINE)
  assert all(macro.isupper() for macro in defined)


@pytest.mark.parametrize('name', SIZES)
def test_models_have_the_published_sizes(name, load):
  layers, hidden, heads, vocabulary, positions = SIZES[name]
  assert load(f'models/{name}.gin')[0].architecture == Architecture(
      num_layers=layers, hidden_size=hidden, num_heads=heads,
      inner_size=4 * hidden, vocab_size=vocabulary, max_positions=positions,
      family='gpt' if is_gpt(name) else 'bert',
      activation='gelu_erf' if 'minilm' in name else 'gelu_tanh')


@pytest.mark.parametrize('family', ['bert', 'gpt'])
def test_what_micro_models_grow_from_has_their_heads(family, load):
  micro, nano = (
      load(f'models/{family}_{size}.gin')[0].architecture
      for size in ('micro', 'nano'))
  assert micro == Architecture(family=family, **MICRO)
  assert nano == micro.replace(hidden_size=32, num_heads=4, inner_size=64)
  assert nano.head_size == micro.head_size == 8


@pytest.mark.parametrize('name, schedule', [
    ('scratch', schedules.scratch()),
    ('stack', schedules.stack()),
    ('compound_grow', compound_grow(ffn_sharing=4)),
    ('compound_grow_k2', compound_grow(ffn_sharing=2)),
    ('stack_bert', schedules.stack_bert()),
    ('stack_interleave', schedules.stack_bert(depth_growth='interleave')),
    ('stack_middle', schedules.stack_bert(depth_growth='middle')),
    ('mslt', schedules.mslt()),
    ('bert2bert', schedules.bert2bert()),
    ('bert2bert_from_small', schedules.bert2bert(small_fraction=0.3)),
    ('bert2bert_exact', schedules.bert2bert(
        small_fraction=0.3, width_growth='fpi', weighted_norm=True)),
    ('net2net', schedules.net2net()),
    ('direct_copy', schedules.direct_copy()),
    ('data_truncation', schedules.data_truncation()),
    ('ffn_factorization', schedules.ffn_factorization()),
])
def test_schedules_are_the_papers(name, schedule, load):
  assert load(f'schedules/{name}.gin')[0].schedule == schedule


@pytest.mark.parametrize('name', [
    name for name in FILES if re.search('experiments/.*_(base|large|minilm)', name)
    and not is_gpt(name)])
def test_experiments_have_the_papers_settings(name, load):
  config, _ = load(name)
  steps = 400_000 if 'stack_bert' in name else 1_000_000
  assert (config.num_steps, config.batch_size) == (steps, 256)
  rate = 8e-4 if 'published' in name else 1e-4
  assert (config.peak_learning_rate, config.warmup_steps) == (rate, 10_000)
  assert (config.weight_decay_rate, config.optimizer) == (0.01, 'adamw')
  assert (config.num_predictions, config.strategy) == (76, 'tpu')
  assert config.architecture.sequence_length == 512


@pytest.mark.parametrize('name', [
    name for name in FILES if re.search('experiments/.*_gpt_base', name)])
def test_experiments_of_gpt_have_the_settings_of_the_smallest_gpt_3(name, load):
  config, _ = load(name)
  assert config.batch_size * config.architecture.sequence_length == 1 << 19
  assert (config.peak_learning_rate, config.weight_decay_rate) == (6e-4, 0.1)


def test_stages_of_stack_bert_last_as_published(load):
  config, _ = load('experiments/stack_bert_base.gin')
  assert [(stage.architecture.num_layers, stage.num_steps)
          for stage in config.resolve()] == [
              (3, 50_000), (6, 70_000), (12, 280_000)]


def test_bert2bert_base_grows_what_the_paper_grows(load):
  config, _ = load('experiments/bert2bert_base.gin')
  source = config.source()
  assert (source.num_layers, source.hidden_size, source.num_heads) == (12, 512, 8)
  stages = config.resolve()
  assert [stage.num_steps for stage in stages] == [125_000, 875_000]  # 5 of 40
  assert [stage.sub_model_layers for stage in stages] == [3, None]
  assert stages[0].width_growth == 'aki'


def test_the_minilm_grows_to_base_with_its_own_heads(load):
  config, _ = load('experiments/bert2bert_minilm.gin')
  assert config.source() == Architecture(
      num_layers=6, hidden_size=384, num_heads=12, inner_size=1536,
      vocab_size=30522, activation='gelu_erf')
  assert config.resolve()[0].architecture.head_size == 32


def test_data_truncation_reads_two_lengths(load):
  config, _ = load('experiments/data_truncation_base.gin')
  assert list(config.stage_data_dirs) == ['SHORT']
  assert [(stage.architecture.sequence_length, stage.num_steps)
          for stage in config.resolve()] == [(128, 900_000), (512, 100_000)]


def test_the_quickstart_passes_through_all_four_stages(load):
  config, _ = load('experiments/quickstart.gin')
  stages = config.schedule.resolve(config.architecture, config.num_steps)
  assert [stage.architecture.num_layers for stage in stages] == [1, 2, 4, 4]
  assert [stage.architecture.is_treated for stage in stages] == [
      True, True, True, False]
  assert config.architecture.sequence_length == 64


def test_knobs_of_an_include_can_be_turned_on_the_command_line(load):
  config, _ = load('experiments/compound_grow_base.gin', 'FFN_SHARING = 2',
                   'VOCAB_SIZE = 8192', 'SEQUENCE_LENGTH = 128')
  assert config.schedule == compound_grow(ffn_sharing=2)
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
