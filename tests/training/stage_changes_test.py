"""What else a stage may change: its source, its data, and how its optimizer goes on."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from official_ext.data.manifest import Manifest
from official_ext.modeling.checkpoint_weights import read_checkpoint
from official_ext.schedules import bert2bert
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import scratch
from official_ext.schedules import Stage
from official_ext.training.pretrain import pretrain
from tests.training import tiny_run

TARGET = tiny_run.ARCHITECTURE.replace(num_layers=2)
ONE_BLOCK = TARGET.replace(num_layers=1)
SMALL = TARGET.replace(hidden_size=8, num_heads=1, inner_size=16)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tiny_run.write_data(tmp_path_factory.mktemp('stage_changes') / 'data')


def train(model_dir, data_dir, **changes):
  config = tiny_run.config(os.path.dirname(model_dir), **{
      'model_dir': str(model_dir), 'data_dir': data_dir, 'num_steps': 4,
      'architecture': TARGET, 'deterministic': False, **changes})
  pretrain(config, config_text='', flops_per_step=lambda *_: 1.0)
  return config


def lines(model_dir, name):
  with open(os.path.join(model_dir, name)) as file:
    return [json.loads(line) for line in file]


@pytest.fixture(scope='module')
def small_run(tmp_path_factory, data_dir):
  path = tmp_path_factory.mktemp('small') / 'run'
  train(path, data_dir, architecture=SMALL, schedule=scratch(), num_steps=2)
  return path


@pytest.fixture(scope='module')
def grown_run(tmp_path_factory, data_dir, small_run):
  path = tmp_path_factory.mktemp('grown') / 'run'
  config = train(
      path, data_dir, init_checkpoint=str(small_run),
      schedule=bert2bert(width_growth='fpi', sub_model_depth=0.5,
                         sub_model_fraction=0.5))
  return path, config


def test_a_run_grows_from_a_checkpoint_before_its_first_step(
    small_run, grown_run):
  path, _ = grown_run
  from_source, to_full = lines(path, 'growth.jsonl')
  assert (from_source['step'], from_source['stage_from'],
          from_source['stage_to']) == (0, -1, 0)
  assert from_source['operators'] == [
      'hidden 8 -> 16 (fpi)', 'heads 1 -> 2 (fpi)', 'inner 16 -> 32 (fpi)',
      'trained all -> sub-models of 1 or 2 layers']
  assert from_source['preserves']
  assert from_source['max_logit_difference'] < 1e-5
  # What the run starts from is where the small one ended.
  end = lines(small_run, 'metrics.jsonl')[-1]
  assert end['moment'] == 'end'
  assert from_source['loss_before'] == pytest.approx(end['loss'], rel=1e-6)
  assert from_source['loss_after'] == pytest.approx(end['loss'], rel=1e-5)
  assert to_full['operators'] == ['trained sub-models of 1 or 2 layers -> all']
  assert to_full['max_logit_difference'] == 0
  with open(path / 'schedule.json') as file:
    assert json.load(file)['source'] == dataclasses.asdict(SMALL)


def test_a_run_goes_on_without_the_checkpoint_it_grew_from(
    tmp_path, data_dir, grown_run):
  path, config = grown_run
  model_dir = tmp_path / 'run'
  shutil.copytree(path, model_dir)
  for file in os.listdir(model_dir / 'checkpoints'):
    if file.startswith('ckpt-4.'):
      os.remove(model_dir / 'checkpoints' / file)
  state = model_dir / 'checkpoints/checkpoint'
  # TensorFlow's own list, without the last one.
  state.write_text(
      'model_checkpoint_path: "ckpt-3"\nall_model_checkpoint_paths: "ckpt-3"\n')
  config = dataclasses.replace(
      config, model_dir=str(model_dir), init_checkpoint=str(tmp_path / 'gone'))
  pretrain(config, config_text='', flops_per_step=lambda *_: 1.0)
  expected, _ = read_checkpoint(str(path))
  for name, array in read_checkpoint(str(model_dir))[0].items():
    np.testing.assert_array_equal(array, expected[name], err_msg=name)
  assert len(lines(model_dir, 'growth.jsonl')) == 2


def test_a_checkpoint_of_another_vocabulary_is_refused(tmp_path, small_run):
  other = tiny_run.write_data(tmp_path / 'data', vocabulary_prefix='other')
  config = tiny_run.config(
      tmp_path, data_dir=other, init_checkpoint=str(small_run), num_steps=4,
      architecture=TARGET, schedule=scratch())
  mistake, = config.mistakes(Manifest.read(other))
  assert mistake.startswith(f'init_checkpoint: {small_run}/vocab.txt has the hash')
  assert mistake.endswith(
      f'; prepare the data with --vocab_file {small_run}/vocab.txt')


def test_short_stages_read_data_of_their_own(tmp_path, data_dir):
  short = tiny_run.write_data(tmp_path / 'short', sequence_length=8)
  train(tmp_path / 'run', data_dir, stage_data_dirs=[short],
        architecture=ONE_BLOCK, weight_decay_rate=0.0,
        max_checkpoints_to_keep=9,
        schedule=GrowthSchedule((
            Stage('short', steps=2, length=0.5), Stage('full', steps=2))))
  checkpoints = tmp_path / 'run/checkpoints'
  before, middle, end = (
      read_checkpoint(str(checkpoints / f'ckpt-{step}'))[0]['embeddings/position']
      for step in (1, 2, 4))
  # Positions that no short sequence has are not touched before the growth.
  assert np.array_equal(before[8:], middle[8:])
  assert not np.array_equal(before[:8], middle[:8])
  assert not np.array_equal(middle[8:], end[8:])
  growth, = lines(tmp_path / 'run', 'growth.jsonl')
  assert growth['operators'] == ['sequence_length 8 -> 16']
  assert growth['max_logit_difference'] == 0
  # Held-out figures are of whole sequences throughout.
  assert growth['loss_before'] == growth['loss_after']
  with open(tmp_path / 'run/schedule.json') as file:
    described = json.load(file)
  assert set(described['data']['splits']) == {'8', '16'}


def test_stages_whose_data_differ_are_refused(tmp_path, data_dir):
  short = tiny_run.write_data(
      tmp_path / 'short', sequence_length=8, vocabulary_prefix='other')
  with pytest.raises(ValueError, match='stage_data_dirs: vocab_sha256 of .*short '
                     'is .*; prepare both alike'):
    train(tmp_path / 'run', data_dir, stage_data_dirs=[short],
          schedule=GrowthSchedule((
              Stage('short', steps=2, length=0.5), Stage('full', steps=2))))


def test_continue_follows_the_small_model_through_two_growths(
    tmp_path, data_dir):
  exact = dict(optimizer_growth='continue', noise_scale=0.0,
               gradient_clip_norm=0.0, output_dropout=0.0,
               attention_dropout=0.0, num_steps=6, peak_learning_rate=1e-2)
  # What widens is each block by itself, so there is one.
  train(tmp_path / 'grown', data_dir, architecture=ONE_BLOCK,
        schedule=GrowthSchedule((
            Stage('a', steps=2, hidden_size=8, num_heads=1, inner_size=16),
            Stage('b', steps=2, inner_size=16), Stage('c', steps=2))), **exact)
  # The same restarts of the learning rate, and nothing grows.
  train(tmp_path / 'small', data_dir, architecture=SMALL.replace(num_layers=1),
        schedule=GrowthSchedule(
            tuple(Stage(name, steps=2) for name in 'abc')), **exact)
  grown, small = (
      [m['loss'] for m in lines(tmp_path / name, 'metrics.jsonl')
       if m['split'] == 'train'] for name in ('grown', 'small'))
  assert len(small) == 6
  # With moments that are transferred alone they part by more than 1e-4.
  np.testing.assert_allclose(grown, small, rtol=1e-5)
