"""The command `grow`, and what it calls."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from official_ext import configuration
from official_ext.analysis import growth_table
from official_ext.export import checkpoint_growth
from official_ext.growth import Architecture
from official_ext.growth import DEPTH_RULES
from official_ext.growth import weight_specs
from official_ext.growth import WIDTH_RULES
from official_ext.mistakes import ConfigurationError
from official_ext.modeling import checkpoint_weights
from tests.export import tiny_run
from tests.forked_command import run_command
from tests.growth import numpy_bert

SOURCE = tiny_run.TARGET
WIDER = SOURCE.replace(hidden_size=32, num_heads=4, inner_size=64)
LINES = ('the function returns a list of values.', 'a list of functions',
         'the value of a list', 'returns a value.')


@pytest.fixture(name='vocab_file', scope='module')
def _vocab_file(tmp_path_factory):
  path = tmp_path_factory.mktemp('vocabulary') / 'pieces.txt'
  path.write_text('\n'.join(tiny_run.PIECES) + '\n')
  return str(path)


def _weights(architecture, without=()):
  return {name: array.astype(np.float32) for name, array in
          numpy_bert.random_weights(weight_specs(architecture)).items()
          if not name.startswith(tuple(without))}


def _grow(tmp_path, vocab_file, target, source=SOURCE, without=(), **options):
  return checkpoint_growth.grow_checkpoint(
      _weights(source, without), source, target, str(tmp_path / 'grown'),
      vocab_file=vocab_file, lines=LINES, **options)


def _text(record):
  return '\n'.join(growth_table.growth_lines(record))


def test_widening_is_exact_and_written_down(tmp_path, vocab_file):
  record = _grow(tmp_path, vocab_file, WIDER, lower_case=False)
  parity = record['parity']
  assert record['exact'] == {'width': True, 'whole': True}
  assert 0 < parity['logit_difference'] < 1e-4
  assert parity['loss_before'] == pytest.approx(parity['loss_after'], abs=1e-5)
  weights, architecture = checkpoint_weights.read_checkpoint(
      str(tmp_path / 'grown'))
  assert architecture == WIDER
  specs = weight_specs(WIDER)
  assert {name: array.shape for name, array in weights.items()} == {
      name: spec.shape for name, spec in specs.items()}
  assert record['parameters_after'] == sum(
      np.prod(spec.shape) for spec in specs.values())
  # Noise has come between the copies.
  kernel = weights['layer_0/ffn/inner/kernel']
  assert not np.allclose(kernel[:16], kernel[16:])
  assert json.loads((tmp_path / 'grown/growth.json').read_text()) == record
  assert json.loads((tmp_path / 'grown/architecture.json').read_text())[
      'lower_case'] is False
  assert ((tmp_path / 'grown/vocab.txt').read_text().split()
          == list(tiny_run.PIECES))
  text = _text(record)
  assert 'width: exact (fpi preserves the function, if every' in text
  assert f'{record["parameters_before"]:,}' in text
  assert ['masked-LM', 'loss', f'{parity["loss_before"]:.4f}',
          f'{parity["loss_after"]:.4f}'] in [
              line.split() for line in text.splitlines()]
  assert 'please report' not in text


@pytest.mark.parametrize('target, options, exact, words', [
    (WIDER, dict(width='aki'), {'width': False, 'whole': False},
     'width: not exact (aki does not preserve the function, unless'),
    (WIDER.replace(num_layers=4), dict(depth='top'),
     {'width': True, 'depth': False, 'whole': False},
     'depth: not exact (top does not preserve the function)'),
    (SOURCE.replace(hidden_size=24, num_heads=3), {},
     {'width': False, 'whole': False},
     'hidden_size 24 is no multiple of 16: some units count more often than '
     'others in the LayerNorms, and fpi as published changes the function'),
], ids=['aki', 'depth', 'no multiple'])
def test_what_is_not_exact_shows_its_jump(
    tmp_path, vocab_file, target, options, exact, words):
  record = _grow(tmp_path, vocab_file, target, **options)
  assert record['exact'] == exact
  parity = record['parity']
  assert parity['logit_difference'] > 0.05
  assert abs(parity['loss_before'] - parity['loss_after']) > 1e-3
  assert words in _text(record)


def test_weighted_norms_keep_any_width(tmp_path, vocab_file):
  target = SOURCE.replace(hidden_size=24, num_heads=3, norm_source_size=16)
  record = _grow(tmp_path, vocab_file, target)
  assert record['exact'] == {'width': True, 'whole': True}
  assert record['parity']['logit_difference'] < 1e-4
  assert checkpoint_weights.read_checkpoint(
      str(tmp_path / 'grown'))[1].norm_source_size == 16
  assert 'keep the statistics of 16 units' in _text(record)


def test_without_a_head_hidden_states_are_compared(tmp_path, vocab_file):
  record = _grow(tmp_path, vocab_file, WIDER,
                 without=('masked_lm', 'next_sentence'))
  parity = record['parity']
  assert parity['loss_before'] is None
  assert len(parity['hidden_differences']) == 2
  assert 0 < max(parity['hidden_differences']) < 1e-4
  assert 'no masked-LM head, so only hidden states are compared' in _text(record)
  weights, _ = checkpoint_weights.read_checkpoint(str(tmp_path / 'grown'))
  assert 'pooler/kernel' in weights and 'masked_lm/dense/kernel' not in weights


def test_a_gpt_grows(tmp_path, vocab_file):
  small = Architecture(
      family='gpt', num_layers=2, hidden_size=16, num_heads=2, inner_size=32,
      vocab_size=len(tiny_run.PIECES), max_positions=16)
  large = small.replace(
      num_layers=4, hidden_size=32, num_heads=4, inner_size=64)
  record = _grow(tmp_path, vocab_file, large, source=small, depth='identity')
  assert record['exact'] == {'width': True, 'depth': True, 'whole': True}
  assert record['parity']['logit_difference'] < 1e-4
  assert 'causal-LM loss' in _text(record)
  assert checkpoint_weights.read_checkpoint(
      str(tmp_path / 'grown'))[1] == large


def test_a_treated_source_is_compared_whole(tmp_path, vocab_file):
  source = SOURCE.replace(ffn_sharing=2, query_pool_size=2)
  record = _grow(tmp_path, vocab_file, SOURCE, source=source)
  assert record['exact'] == {'width': True, 'length': False, 'whole': False}
  assert record['parity']['logit_difference'] < 1e-4
  assert 'length: not exact; queries are pooled no more' in _text(record)


def test_a_growth_that_should_be_exact_and_is_not_is_reported(
    tmp_path, vocab_file):
  record = _grow(tmp_path, vocab_file, WIDER)
  for value in (0.5, float('nan')):
    record['parity']['logit_difference'] = value
    assert 'should be exact, and is not: please report' in _text(record)


def test_same_seed_same_result(tmp_path, vocab_file):
  grown = []
  for name, seed in (('a', 0), ('b', 0), ('c', 1)):
    (tmp_path / name).mkdir()
    _grow(tmp_path / name, vocab_file, WIDER, seed=seed)
    grown.append(checkpoint_weights.read_checkpoint(
        str(tmp_path / name / 'grown'))[0]['layer_0/ffn/output/kernel'])
  np.testing.assert_array_equal(grown[0], grown[1])
  assert np.any(grown[0] != grown[2])


def test_a_foreign_vocabulary_is_refused(tmp_path, vocab_file):
  path = tmp_path / 'other.txt'
  path.write_text('\n'.join([*tiny_run.PIECES, 'more']) + '\n')
  with pytest.raises(ValueError, match=r'other.txt has 21 pieces, the model 20'):
    _grow(tmp_path, str(path), WIDER)
  assert not (tmp_path / 'grown').exists()


def test_flags_offer_every_rule():
  # In a process of its own: several commands define flags of one name.
  text = subprocess.run(
      [sys.executable, '-m', 'official_ext.grow', '--help'], check=True,
      capture_output=True, text=True).stdout
  assert f'--width: <{"|".join(WIDTH_RULES)}>' in text
  assert f'--depth: <{"|".join(DEPTH_RULES)}>' in text


DEFAULTS = dict(vocab_size=20, max_positions=16, activation='relu')


def _gin(tmp_path, text):
  (tmp_path / 'target.gin').write_text(text)
  return [str(tmp_path / 'target.gin')]


def test_an_architecture_is_read_alone(tmp_path):
  files = _gin(tmp_path, '''
WIDTH = 32
model.num_layers = 3
model.hidden_size = %WIDTH
model.num_heads = 4
model.inner_size = 64
train.num_steps = 10
''')
  assert configuration.load_architecture(
      files, ['model.num_layers = 5', 'model.max_positions = 12'],
      defaults=DEFAULTS) == Architecture(
          num_layers=5, hidden_size=32, num_heads=4, inner_size=64,
          vocab_size=20, max_positions=12, activation='relu')


def test_all_mistakes_of_an_architecture_at_once(tmp_path):
  files = _gin(tmp_path, 'model.num_layer = 3\nmodel.hidden_size = %WIDHT\n'
               'model.num_heads = four\n')
  with pytest.raises(ConfigurationError) as caught:
    configuration.load_architecture(files)
  lines = '\n'.join(caught.value.mistakes)
  for words in (f"{files[0]}:1: model has no parameter 'num_layer'; did you mean",
                f"{files[0]}:2: model.hidden_size uses the macro '%WIDHT'",
                f'{files[0]}:3: model.num_heads = four: four is not a value',
                'model.inner_size is missing', 'model.vocab_size is missing'):
    assert words in lines


def test_a_value_that_cannot_be_is_blamed_on_its_line(tmp_path):
  files = _gin(tmp_path, 'model.num_layers = 3\nmodel.hidden_size = 30\n'
               'model.num_heads = 4\nmodel.inner_size = 64\n')
  with pytest.raises(ConfigurationError) as caught:
    configuration.load_architecture(files, defaults=DEFAULTS)
  (line,) = caught.value.mistakes
  assert 'hidden_size 30 is not a multiple of num_heads 4' in line
  assert f'model.hidden_size in {files[0]}:2' in line


def test_no_target_is_named_with_what_there_is():
  with pytest.raises(ConfigurationError, match='models/bert_base.gin'):
    configuration.load_architecture([])


def test_help_comes_at_once_without_tensorflow():
  start = time.monotonic()
  done = subprocess.run(
      [sys.executable, '-X', 'importtime', '-m', 'official_ext.grow', '--help'],
      capture_output=True, text=True, check=False)
  seconds = time.monotonic() - start
  assert done.returncode == 0
  assert 'Usage: python -m official_ext.grow [flags]' in done.stdout
  for flag in ('--source', '--target_gin_file', '--width', '--text_file'):
    assert flag in done.stdout
  imported = {line.rsplit('|', 1)[-1].strip() for line in done.stderr.splitlines()}
  # NumPy comes with the tables of rules, of which the help speaks: 0.1 s.
  assert not imported & {'tensorflow', 'gin'}
  # The machine may be busy; a single import of TensorFlow takes 5 s and more.
  assert seconds < 3


@pytest.fixture(name='run', scope='module')
def _run(tmp_path_factory):
  path = tmp_path_factory.mktemp('run') / 'model'
  tiny_run.write_run(path)
  return path


def test_a_run_grows(run, tmp_path):
  files = _gin(tmp_path, 'model.num_layers = 4\nmodel.hidden_size = 32\n'
               'model.num_heads = 4\nmodel.inner_size = 64\n')
  (tmp_path / 'text.txt').write_text('\n'.join(LINES) + '\n')
  done = run_command(
      tmp_path, 'official_ext.grow', f'--source={run}',
      f'--target_gin_file={files[0]}', '--width=aki',
      f'--output_dir={tmp_path}/grown', f'--text_file={tmp_path}/text.txt')
  assert done.returncode == 0, done.stderr
  assert 'measured on 4 rows, 4 predictions:' in done.stdout
  assert done.stdout.endswith(f'written: {tmp_path}/grown\n')
  weights, architecture = checkpoint_weights.read_checkpoint(
      str(tmp_path / 'grown'))
  assert architecture == SOURCE.replace(
      num_layers=4, hidden_size=32, num_heads=4, inner_size=64)
  assert any(name.startswith('next_sentence/') for name in weights)
  record = json.loads((tmp_path / 'grown/growth.json').read_text())
  assert f'{record["parity"]["loss_after"]:.4f}' in done.stdout


def test_shrinking_is_refused_with_both_sides(run, tmp_path):
  files = _gin(tmp_path, 'model.num_layers = 1\nmodel.hidden_size = 16\n'
               'model.num_heads = 4\nmodel.inner_size = 32\n')
  done = run_command(
      tmp_path, 'official_ext.grow', f'--source={run}',
      f'--target_gin_file={files[0]}', f'--output_dir={tmp_path}/grown')
  assert done.returncode == 2
  lines = done.stderr.splitlines()
  assert 'error: 2 mistakes:' in lines
  assert '  num_layers shrinks from 2 to 1; give at least 2' in lines
  assert '  head_size changes from 8 to 4; keep 8' in lines
  rows = {tuple(line.split()) for line in lines}
  assert ('num_layers', '2', '1', '*') in rows
  assert ('hidden_size', '16', '16') in rows
  assert not (tmp_path / 'grown').exists()
