"""Every tiny experiment trains through all its stages, growing as it says."""

import json
import math
import os
import random

import pytest

from official_ext import gin_source
from official_ext.analysis import flops
from official_ext.configuration import load_config
from official_ext.data import build
from official_ext.data.settings import PrepareSettings
from official_ext.growth import weight_specs
from official_ext.modeling.checkpoint_weights import read_checkpoint
from official_ext.training.pretrain import pretrain

_WORDS = [f'{a}{b}' for a in ('ba', 'do', 'ki', 'lu', 'me', 'no', 'ra', 'ti')
          for b in ('', 'sha', 'ven', 'moku', 'pal', 'tir', 'gon', 'zu')]

# A growth: the step before which it happens, what changes, and whether the
# weights go on computing the same function.
_TRAIN_ALL = 'trained sub-models of 2 or 4 layers -> all'
_TRAIN_SUB_MODELS = 'trained all -> sub-models of 2 or 4 layers'


def _widths(hidden, rule):
  """Of a growth to 48 units, six heads of 8 and twice 48 inner units."""
  return [f'hidden {hidden} -> 48 ({rule})',
          f'heads {hidden // 8} -> 6 ({rule})',
          f'inner {2 * hidden} -> 96 ({rule})']


def _stacked(steps, rule='append'):
  return [(steps[0], [f'depth 1 -> 2 ({rule})'], False),
          (steps[1], [f'depth 2 -> 4 ({rule})'], False)]


_MSLT = [
    (8, ['depth 1 -> 2 (top)', 'trained all -> top layer'], False),
    (16, ['depth 2 -> 3 (top)'], False),
    (24, ['depth 3 -> 4 (top)'], False),
    (32, ['trained top layer -> all'], True)]
_BERT2BERT = [
    (0, [*_widths(32, 'aki'), _TRAIN_SUB_MODELS], False),
    (5, [_TRAIN_ALL], True)]

_GROWTHS = {
    'scratch': [],
    'stack': _stacked((12, 28)),
    'stack_bert': _stacked((5, 12)),
    'stack_interleave': _stacked((5, 12), 'interleave'),
    'stack_middle': _stacked((5, 12), 'middle'),
    'compound_grow': [
        *_stacked((8, 16)),
        (28, ['ffn_sharing 4 -> 1', 'query_pool 2 -> 1'], True)],
    'mslt': _MSLT,
    'bert2bert': _BERT2BERT,
    'bert2bert_from_small': [
        (12, [*_widths(32, 'aki'), _TRAIN_SUB_MODELS], False),
        (17, [_TRAIN_ALL], True)],
    'bert2bert_exact': [
        (12, [*_widths(32, 'fpi'), 'weighted_norm None -> 32', _TRAIN_SUB_MODELS],
         True),
        # The stage's steps turned the weighted LayerNorms into ordinary ones.
        (17, ['weighted_norm 32 -> None', _TRAIN_ALL], True)],
    'net2net': [(12, [*_widths(24, 'net2net'), 'depth 2 -> 4 (identity)'], False)],
    'direct_copy': [(12, _widths(24, 'direct_copy'), False)],
    'data_truncation': [(36, ['sequence_length 8 -> 32'], True)],
    'ffn_factorization': [(20, ['ffn_rank 10 -> None'], True)],
    'scratch_gpt': [],
    'stack_gpt': _stacked((12, 28)),
    'mslt_gpt': _MSLT,
    'bert2bert_gpt': _BERT2BERT,
}


# Other rules in the stages of an experiment that stays, or of its GPT; what
# differs is also tested in methods_test.py, which has net2net's rules too.
# `small_run` trains from scratch.
_SLOW = {'scratch', 'stack_bert', 'stack_interleave', 'stack_middle',
         'bert2bert', 'bert2bert_from_small', 'net2net', 'direct_copy',
         'scratch_gpt', 'stack_gpt', 'mslt_gpt'}


@pytest.fixture(name='data', scope='module')
def _data(tmp_path_factory):
  """Data directories: for BERT, for GPT, and short sequences for BERT."""
  folder = tmp_path_factory.mktemp('data')
  rng = random.Random(1)
  (folder / 'text.txt').write_text('\n\n'.join(
      '\n'.join(' '.join(rng.choices(_WORDS, k=rng.randint(4, 12))) + '.'
                for _ in range(6)) for _ in range(150)))

  def prepare(name, **settings):
    build.prepare(str(folder / name), [str(folder / 'text.txt')],
                  PrepareSettings(num_shards=2, eval_fraction=0.1, **settings),
                  num_workers=1)
    return str(folder / name)

  masked = dict(max_predictions_per_seq=5)
  bert = prepare('bert', vocab_size=1000, seq_length=32, **masked)
  vocabulary = dict(vocab_file=os.path.join(bert, 'vocab.txt'))
  return {
      'bert': bert,
      'gpt': prepare('gpt', objective='causal_lm', seq_length=32, **vocabulary),
      'short': prepare('short', seq_length=8, max_predictions_per_seq=2,
                       **vocabulary)}


def _train(files, params, data_dir, model_dir):
  config, text = load_config(
      files, params, data_dir=data_dir, model_dir=str(model_dir))
  result = pretrain(
      config, config_text=text,
      flops_per_step=lambda stage, num_predictions: flops.stage_train_flops(
          stage, num_predictions, config.batch_size,
          has_next_sentence=config.use_next_sentence))
  return config, result


@pytest.fixture(name='small_run', scope='module')
def _small_run(data, tmp_path_factory):
  """Trains what the tiny bert2BERTs grow from, once for each family."""
  runs = {}

  def small_run(family):
    if family not in runs:
      runs[family] = tmp_path_factory.mktemp('runs') / family
      run = 'runs/tiny_gpt.gin' if family == 'gpt' else 'runs/tiny.gin'
      _train([f'models/{family}_nano.gin', 'schedules/scratch.gin', run],
             ['NUM_STEPS = 10'], data[family], runs[family])
    return str(runs[family])

  return small_run


def test_every_tiny_experiment_is_run_here():
  assert {f'experiments/{name}_tiny.gin' for name in _GROWTHS} == {
      name for name in gin_source.packaged_files()
      if name.startswith('experiments/') and name.endswith('_tiny.gin')}


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] * (name in _SLOW))
    for name in _GROWTHS])
def test_it_trains_through_all_its_stages(name, data, small_run, tmp_path):
  family = 'gpt' if 'gpt' in name else 'bert'
  params = []
  if name in ('bert2bert', 'bert2bert_gpt'):
    params = [f'INIT_CHECKPOINT = {small_run(family)!r}']
  if name == 'data_truncation':
    params = [f'SHORT_DATA_DIR = {data["short"]!r}']
  config, result = _train(
      [f'experiments/{name}_tiny.gin'], params, data[family], tmp_path / 'run')

  path = tmp_path / 'run' / 'growth.jsonl'
  lines = path.read_text().splitlines() if path.exists() else []
  records = [json.loads(line) for line in lines]
  assert [record['step'] for record in records] == [
      step for step, _, _ in _GROWTHS[name]]
  for record, (_, operators, preserves) in zip(records, _GROWTHS[name]):
    assert sorted(record['operators']) == sorted(operators)
    assert record['preserves'] == preserves
    assert (record['max_logit_difference'] < 1e-5) == preserves

  weights, architecture = read_checkpoint(str(tmp_path / 'run'))
  assert architecture == config.architecture
  specs = weight_specs(architecture)
  assert {key: array.shape for key, array in weights.items()} == {
      key: spec.shape for key, spec in specs.items()}
  assert result.step == 40
  # Better than guessing: a thousand pieces and, for BERT, two labels.
  guessing = math.log(1000) + (math.log(2) if family == 'bert' else 0)
  assert result.metrics['loss'] < guessing - 0.3
