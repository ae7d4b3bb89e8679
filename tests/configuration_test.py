"""The gin door: what it gives, and every mistake that it names."""

import textwrap

import gin
import pytest

from official_ext import configuration
from official_ext import gin_source
from official_ext.configuration import load_config
from official_ext.data.manifest import Manifest
from official_ext.data.manifest import Split
from official_ext.growth.architecture import Architecture
from official_ext.mistakes import ConfigurationError
from official_ext.schedules import compound_grow
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from official_ext.training.run_config import PretrainConfig

SOUND = '''
    WIDTH = 8
    train.architecture = @model()
    train.schedule = @compound_grow()
    train.num_steps = 100
    train.batch_size = 4
    train.num_predictions = 3
    compound_grow.ffn_sharing = 2
    model.num_layers = 4
    model.hidden_size = %WIDTH
    model.num_heads = 2
    model.inner_size = 16
    model.vocab_size = 40
    model.max_positions = 24
'''


@pytest.fixture(name='write')
def _write(tmp_path, monkeypatch):
  """Writes a gin file and returns its name, relative to the working directory."""
  monkeypatch.chdir(tmp_path)

  def write(text, name='own.gin'):
    (tmp_path / name).write_text(textwrap.dedent(text).lstrip('\n'))
    return name

  return write


def load(files, params=(), **flags):
  return load_config(files, params, require_directories=False, **flags)


def mistakes_of(files, params=(), **flags):
  with pytest.raises(ConfigurationError) as caught:
    load(files, params, **flags)
  return list(caught.value.mistakes)


def write_data(directory, **changes):
  splits = {
      'train': Split(examples=64, documents=9, tokens=999, shards=()),
      'eval': Split(examples=4, documents=1, tokens=99, shards=())}
  directory.mkdir(exist_ok=True)
  manifest = Manifest(**{
      'seq_length': 24, 'max_predictions_per_seq': 3, 'vocab_size': 40,
      'vocab_sha256': 'a' * 64, 'tokenizer': {}, 'seed': 0, 'settings': {},
      'corpus': {}, 'splits': splits, 'versions': {}, **changes})
  (directory / 'manifest.json').write_text(manifest.to_json())
  return str(directory)


class TestWhatItGives:

  def test_the_run_as_plain_data(self, write):
    config, _ = load([write(SOUND)])
    assert config == PretrainConfig(
        architecture=Architecture(
            num_layers=4, hidden_size=8, num_heads=2, inner_size=16,
            vocab_size=40, max_positions=24),
        schedule=compound_grow(ffn_sharing=2), num_steps=100, batch_size=4,
        num_predictions=3)
    assert type(config) is PretrainConfig
    assert type(config.architecture) is Architecture

  def test_the_last_wins(self, write):
    first = write(SOUND)
    second = write('train.num_steps = 200\ntrain.seed = 1\n', 'second.gin')
    config, _ = load([first, second], ['train.seed = 2', 'train.seed = 3'])
    assert (config.num_steps, config.seed) == (200, 3)
    config, _ = load([second, first], ['WIDTH = 16'])
    assert (config.num_steps, config.architecture.hidden_size) == (100, 16)

  def test_flags_win_over_everything(self, write, tmp_path):
    data = write_data(tmp_path / 'data')
    config, text = load_config(
        [write(SOUND)], ["train.model_dir = 'x'", "train.strategy = 'mirrored'"],
        model_dir='run', data_dir=data, tpu='my-tpu')
    assert (config.model_dir, config.data_dir) == ('run', data)
    assert (config.tpu, config.strategy) == ('my-tpu', 'tpu')
    assert "train.model_dir = 'run'" in text

  def test_a_block_a_comment_and_an_include(self, write):
    write(SOUND, 'base.gin')
    own = write('''
        # A comment.
        include 'base.gin'
        train:  # A block.
          num_steps = 300
          seed = 4
    ''')
    config, _ = load([own])
    assert (config.num_steps, config.seed, config.batch_size) == (300, 4, 4)

  def test_a_schedule_written_in_gin(self, write):
    own = write(SOUND + '''
    train.schedule = @growth_schedule()
    growth_schedule.stages = [@cheap/stage(), @whole/stage()]
    cheap/stage.name = 'cheap'
    cheap/stage.fraction = 0.5
    cheap/stage.depth = 0.5
    whole/stage.name = 'whole'
    whole/stage.fraction = 0.5
''')
    config, text = load([own])
    assert config.schedule == GrowthSchedule((
        Stage('cheap', fraction=0.5, depth=0.5), Stage('whole', fraction=0.5)))
    assert load([write(text, 'resolved.gin')]) == (config, text)

  def test_a_file_beside_the_user_hides_the_packaged_one(self, write, tmp_path):
    (tmp_path / 'experiments').mkdir()
    own = write(SOUND, 'experiments/quickstart.gin')
    assert load([own])[0].architecture.hidden_size == 8

  def test_an_import_of_our_own_code_stays_in_the_resolved_text(self, write):
    own = write('import official_ext.schedules.papers\n' + textwrap.dedent(SOUND))
    _, text = load([own])
    assert 'import official_ext.schedules.papers\n' in text
    assert load([write(text, 'resolved.gin')])[1] == text


class TestResolvedText:

  def test_it_is_complete_and_gives_the_same_run(self, write, tmp_path):
    data = write_data(tmp_path / 'data')
    config, text = load_config(
        [write(SOUND)], ['train.peak_learning_rate = 3e-05'], model_dir="it's",
        data_dir=data)
    for field in PretrainConfig.__dataclass_fields__:
      assert f'train.{field} = ' in text
    assert 'compound_grow.query_pool_size = 2' in text
    again, text_again = load_config([write(text, 'resolved.gin')])
    assert again == config
    assert text_again == text

  def test_it_can_be_changed_again(self, write):
    _, text = load([write(SOUND)])
    config, _ = load([write(text, 'resolved.gin')], ['WIDTH = 16'])
    assert config.architecture.hidden_size == 16


class TestGinState:

  def test_calls_do_not_see_each_other(self, write):
    load([write(SOUND)], ['train.seed = 5'])
    assert load([write(SOUND)])[0].seed == 0
    mistakes_of([write(SOUND)], ['train.seed = -5'])
    assert load([write(SOUND)])[0].seed == 0

  def test_the_callers_gin_configuration_stays(self, write):
    @gin.configurable(module='configuration_test')
    def thing(size=1):
      return size

    gin.clear_config()
    with gin.unlock_config():
      gin.bind_parameter('thing.size', 3)
    before = gin.config_str()
    load([write(SOUND)])
    mistakes_of([write(SOUND)], ['train.seed = -5'])
    assert gin.config_str() == before
    assert thing() == 3
    gin.clear_config()

  def test_the_callers_lock_stays(self, write):
    gin.clear_config()
    gin.finalize()
    try:
      load([write(SOUND)])
      assert gin.config_is_locked()
    finally:
      gin.clear_config()

  def test_library_functions_are_untouched_by_gin(self, write):
    load([write(SOUND)])
    assert compound_grow().stages[0].ffn_sharing == 4


# (settings after the sound file, the mistakes they make)
SETTINGS = [
    (['train.num_stepz = 5'],
     ['--gin_params "train.num_stepz = 5": train has no parameter \'num_stepz\'; '
      "did you mean 'num_steps'?"]),
    (['trian.seed = 5'],
     ['--gin_params "trian.seed = 5": nothing called \'trian\' can be configured; '
      "did you mean 'train'?"]),
    (['WITDH = 16'],
     ['--gin_params "WITDH = 16": nothing uses the macro \'WITDH\'; did you mean '
      "'WIDTH'?"]),
    (['num_steps = 5'],
     ['--gin_params "num_steps = 5": nothing uses the macro \'num_steps\'; did '
      "you mean 'train.num_steps'?"]),
    (['train.seed = %SEDE', 'model.num_heads = %WIDHT'],
     ['--gin_params "model.num_heads = %WIDHT": model.num_heads uses the macro '
      "'%WIDHT', which is not defined; did you mean 'WIDTH'?",
      '--gin_params "train.seed = %SEDE": train.seed uses the macro \'%SEDE\', '
      'which is not defined; known: WIDTH']),
    (['train.schedule = @compound_grwo()'],
     ['--gin_params "train.schedule = @compound_grwo()": train.schedule: there is '
      "no '@compound_grwo()'; did you mean 'compound_grow'?"]),
    (['train.schedule = @stack'],
     ['--gin_params "train.schedule = @stack": train.schedule = @stack lacks its '
      'parentheses; write @stack()']),
    (['A = %B', 'B = %A', 'train.seed = %A'],
     ['--gin_params "B = %A": B: %A refers to itself; break the circle']),
    (['train.seed = %gin.REQUIRED'],
     ['--gin_params "train.seed = %gin.REQUIRED": train.seed is required; give it '
      'with --gin_params "train.seed = …"']),
    (['WIDTH = %gin.REQUIRED'],
     ['--gin_params "WIDTH = %gin.REQUIRED": WIDTH is required; give it with '
      '--gin_params "WIDTH = …"']),
    (['train.data_dir = gs://bucket/data'],
     ['--gin_params "train.data_dir = gs://bucket/data": put quotes around the '
      "path: train.data_dir = 'gs://bucket/data'"]),
    (['train.model_dir = /data/run'],
     ['--gin_params "train.model_dir = /data/run": put quotes around the path: '
      "train.model_dir = '/data/run'"]),
    (['train.init_checkpoint = runs/small-1/model'],
     ['--gin_params "train.init_checkpoint = runs/small-1/model": put quotes '
      "around the path: train.init_checkpoint = 'runs/small-1/model'"]),
    (['train.optimizer = lamb'],
     ['--gin_params "train.optimizer = lamb": lamb is not a value; put quotes '
      "around a text: 'lamb', or % before a macro: %lamb"]),
    (['train.jit_compile = true'],
     ['--gin_params "train.jit_compile = true": write train.jit_compile = True']),
    (['train.num_steps = 10 * 10'],
     ['--gin_params "train.num_steps = 10 * 10": gin has no arithmetic; write the '
      'result']),
    (['train.num_steps = NUM_STEPS/2'],
     ['--gin_params "train.num_steps = NUM_STEPS/2": gin has no arithmetic; '
      'write the result']),
    (['train.seed = (1'],
     ['--gin_params "train.seed = (1": a bracket or a quote is never closed']),
    (["train.tpu = 'x"],
     ['--gin_params "train.tpu = \'x": a bracket or a quote is never closed']),
    (['train.num_steps 10'],
     ['--gin_params "train.num_steps 10": not a setting; write name.parameter = '
      'value']),
    (["'train.num_steps = 10'"],
     ['--gin_params "\'train.num_steps = 10\'": a text, not a setting; '
      'drop the outer quotes']),
    (['import os'],
     ['--gin_params "import os": import os is not allowed; all that '
      'a gin file can configure is there without an import, drop the line']),
    (['import official_ext.no_such'],
     ['--gin_params "import official_ext.no_such": import official_ext.no_such '
      'is not allowed; all that a gin file can configure is there without an '
      'import, drop the line']),
    (["include 'nowhere.gin'"],
     ['--gin_params "include \'nowhere.gin\'": there is no such file, neither in '
      '{cwd} nor among the packaged ones; known: ']),
    (['train.batch_size = 2.5'],
     ['--gin_params "train.batch_size = 2.5": train.batch_size is 2.5; give a '
      'whole number of at least 1']),
    (['model.num_heads = 3'],
     ['train.architecture: Architecture: hidden_size 8 is not a multiple of '
      'num_heads 3; change one of them or give head_size. (model.hidden_size in '
      'own.gin:1, model.num_heads in --gin_params "model.num_heads = 3")']),
    (['model.num_layers = 6'],
     ["schedule: stage 'quarter': depth 0.25 of 6 layers is 1.5 layers; choose a "
      'depth that gives a whole number, or give num_layers']),
    (['train.schedule = @growth_schedule()',
      'growth_schedule.stages = [@a/stage(), @b/stage()]',
      "a/stage.name = 'a'", 'a/stage.fraction = 2', 'b/stage.fraction = 0.5'],
     ['b/stage.name is missing; set it in a gin file or with --gin_params '
      '"b/stage.name = …"',
      "@a/stage(): Stage 'a': fraction is 2; give a number above 0 and at most 1. "
      '(a/stage.fraction in --gin_params "a/stage.fraction = 2")']),
]


@pytest.mark.parametrize('params, expected', SETTINGS,
                         ids=[params[0] for params, _ in SETTINGS])
def test_a_mistake_in_a_setting(write, tmp_path, params, expected):
  found = mistakes_of([write(SOUND)], params)
  assert len(found) == len(expected)
  for line, start in zip(found, expected):
    assert line.startswith(start.format(cwd=tmp_path))
    assert '\n' not in line


def test_all_mistakes_come_at_once(write):
  params = [param for params, _ in SETTINGS[:3] for param in params]
  params += ['train.seed = 1 +', 'train.batch_size = 0', "train.precision = 'f'"]
  found = mistakes_of([write(SOUND)], params)
  assert len(found) == 6
  for start in ('train.num_stepz', 'trian.seed', 'WITDH', 'train.seed = 1 +',
                'train.batch_size = 0', "train.precision = 'f'"):
    assert sum(f'--gin_params "{start}' in line for line in found) == 1


class TestFiles:

  def test_syntax_errors_name_file_and_line_and_hide_nothing(self, write):
    own = write('''
        # A comment.
        train.seed = lamb

        train.batch_size = 0
        train.data_dir = gs://bucket/data  # unquoted
        train:
          log_interval_steps = 10 10
        WITDH = 3
    ''')
    base = write(SOUND, 'base.gin')
    assert mistakes_of([base, own]) == [
        'own.gin:2: train.seed = lamb: lamb is not a value; put quotes around a '
        "text: 'lamb', or % before a macro: %lamb",
        'own.gin:5: train.data_dir = gs://bucket/data  # unquoted: put quotes '
        "around the path: train.data_dir = 'gs://bucket/data'",
        'own.gin:7: train:: Expected newline. Got NUMBER = 10.',
        "own.gin:8: nothing uses the macro 'WITDH'; did you mean 'WIDTH'?",
        'own.gin:4: train.batch_size is 0; give a whole number of at least 1',
    ]

  def test_a_value_over_several_lines_is_one_statement(self, write):
    own = write(SOUND + '''
    train.schedule = @growth_schedule()
    growth_schedule.stages = [
        @whole/stage(),
    ]
    whole/stage.name = """
    train.seed = 3
    """
    whole/stage.fraction = 1.0
''')
    config, _ = load([own])
    assert (config.seed, len(config.schedule.stages)) == (0, 1)

  def test_a_missing_file_names_the_nearest_and_hides_what_follows(self, tmp_path,
                                                                   monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mistakes_of(['experiments/quikstart.gin'], ['train.seed = -1']) == [
        '--gin_file experiments/quikstart.gin: there is no such file, neither in '
        f"{tmp_path} nor among the packaged ones; did you mean "
        "'experiments/quickstart.gin'?",
        '--gin_params "train.seed = -1": train.seed is -1; give a whole number of '
        'at least 0']

  def test_a_missing_include_names_its_line(self, write):
    own = write("\ninclude 'models/bert_bse.gin'\n")
    (line,) = mistakes_of([own])
    assert line.startswith('own.gin:1: there is no such file, neither in ')
    assert line.endswith("; did you mean 'models/bert_base.gin'?")

  def test_a_directory(self, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'own.gin').mkdir()
    (line,) = mistakes_of(['own.gin'])
    assert line.startswith('--gin_file own.gin: is a directory, ')

  def test_a_file_that_includes_itself(self, write):
    own = write("include 'own.gin'\n" + textwrap.dedent(SOUND))
    assert mistakes_of([own]) == [
        'own.gin:1: own.gin includes itself; drop one of the includes']

  def test_a_file_that_is_no_text(self, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'own.gin').write_bytes(b'\xff\xfe\x00')
    (line,) = mistakes_of(['own.gin'])
    assert line.startswith('--gin_file own.gin: cannot read own.gin: ')

  def test_a_file_in_a_bucket_is_read_by_what_can(self):
    source = gin_source.read_source(
        ['gs://bucket/run/config.gin'], [],
        read_text={'gs://bucket/run/config.gin': 'train.seed = 7\n'}.__getitem__)
    (binding,) = source.bindings
    assert (binding.value, binding.place) == (7, 'gs://bucket/run/config.gin:1')


class TestMissing:

  def test_no_file_at_all(self):
    (line,) = mistakes_of([])
    assert line.startswith('no --gin_file is given; start from one of: ')
    assert 'experiments/quickstart.gin' in line

  def test_parameters_without_default(self, write):
    own = write('train.architecture = @model()\nmodel.num_layers = 4\n')
    found = mistakes_of([own])
    assert [line.split()[0] for line in found] == [
        'model.hidden_size', 'model.num_heads', 'model.inner_size',
        'model.vocab_size', 'train.schedule', 'train.num_steps',
        'train.batch_size']
    assert found[-1] == (
        'train.batch_size is missing; set it in a gin file or with --gin_params '
        '"train.batch_size = …"')

  def test_a_knob_that_must_be_given(self):
    found = mistakes_of(
        ['models/bert_base.gin', 'schedules/stack.gin', 'runs/pretrain.gin'])
    (line,) = found
    assert line.startswith('runs/pretrain.gin:')
    assert line.endswith(
        'NUM_STEPS is required; give it with --gin_params "NUM_STEPS = …"')

  def test_a_knob_that_a_later_binding_makes_needless(self, write):
    own = write(SOUND + '''
    train.seed = %SEED
    SEED = %gin.REQUIRED
''')
    assert load([own], ['train.seed = 1'])[0].seed == 1

  def test_directories(self, write):
    with pytest.raises(ConfigurationError) as caught:
      load_config([write(SOUND)])
    assert caught.value.mistakes == (
        'model_dir is missing (where the run goes); give --model_dir',
        'data_dir is missing (what `prepare` wrote); give --data_dir')


class TestData:

  def test_no_manifest(self, write, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
      load_config([write(SOUND)], model_dir='run', data_dir=str(tmp_path))
    (line,) = caught.value.mistakes
    assert line == (
        f'data: {tmp_path} holds no manifest.json; make the data with `python -m '
        f'official_ext.prepare --output_dir {tmp_path}`')

  def test_data_of_another_shape(self, write, tmp_path):
    data = write_data(tmp_path / 'data', seq_length=32, vocab_size=39)
    with pytest.raises(ConfigurationError) as caught:
      load_config([write(SOUND)], ['train.seed = -1'], model_dir='run',
                  data_dir=data)
    assert [line[:40] for line in caught.value.mistakes] == [
        '--gin_params "train.seed = -1": train.se',
        'data: seq_length is 32 in the manifest o',
        'data: vocab_size is 39 in the manifest o']


def test_names_do_not_clash_with_other_code():
  gin.external_configurable(
      lambda seed=0: seed, name='train', module='somebody.else')
  config, _ = load(['experiments/quickstart.gin'])
  assert config.num_steps > 0
  assert set(configuration.CONFIGURABLES) == {
      'train', 'model', 'compound_grow', 'stack', 'stack_bert', 'mslt',
      'bert2bert', 'net2net', 'direct_copy', 'data_truncation',
      'ffn_factorization', 'scratch', 'growth_schedule', 'stage'}
