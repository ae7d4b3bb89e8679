"""Whole runs, and what goes wrong with them."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from official_ext.growth.fresh_weights import sinusoidal_positions
from official_ext.modeling.checkpoint_weights import read_checkpoint
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import scratch
from official_ext.schedules import Stage
from official_ext.training.checkpoints import RunCheckpoints
from official_ext.training.pretrain import pretrain
from official_ext.training.run_recorder import NonFiniteLossError
from tests.training import tiny_run

SCHEDULE = GrowthSchedule((
    Stage('half', steps=3, depth=0.5, ffn_sharing=2, query_pool_size=2),
    Stage('full', steps=5)))
# Where no growth is needed.
ONE_STAGE = dict(
    schedule=scratch(), architecture=tiny_run.ARCHITECTURE.replace(num_layers=1))


def small_config(path, **changes):
  # Determinism is a switch of the whole process, so it stays off here; that it
  # works is what resume_test shows.
  return tiny_run.config(path, **{
      'num_steps': 8, 'schedule': SCHEDULE, 'deterministic': False,
      'architecture': tiny_run.ARCHITECTURE.replace(num_layers=2),
      'log_interval_steps': 2, 'checkpoint_interval_steps': 4, **changes})


def train(config):
  return pretrain(config, config_text='# resolved\n', flops_per_step=(
      lambda stage, _: 10.0 * stage.architecture.num_layers))


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  path = tmp_path_factory.mktemp('finished')
  result = train(small_config(path))
  return path, result


@pytest.fixture
def copied(finished, tmp_path):
  """The finished run, to be spoiled."""
  shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
  # TensorFlow writes relative paths into its state file, so copies work.
  return tmp_path


def lines(path, name):
  with open(os.path.join(path, 'run', name)) as file:
    return [json.loads(line) for line in file]


def test_run_directory_tells_the_whole_run(finished):
  path, result = finished
  assert result.step == 8
  metrics = lines(path, 'metrics.jsonl')
  train_lines = [m for m in metrics if m['split'] == 'train']
  # Every second step, and step 3 where the stage ends.
  assert [m['step'] for m in train_lines] == [2, 3, 4, 6, 8]
  assert [m['stage_name'] for m in train_lines] == ['half'] * 2 + ['full'] * 3
  assert [m['train_flops'] for m in train_lines] == [20, 30, 50, 90, 130]
  for line in train_lines:
    assert {'loss', 'masked_lm_accuracy', 'learning_rate', 'wall_seconds',
            'tokens_per_second'} <= line.keys()
  # The last rate before the end: one step of five is left of the full stage.
  assert train_lines[-1]['learning_rate'] == pytest.approx(1e-3 / 5)
  evaluations = [m for m in metrics if m['split'] == 'eval']
  assert [(m['step'], m['moment']) for m in evaluations] == [
      (3, 'before_growth'), (3, 'after_growth'), (8, 'end')]
  growth, = lines(path, 'growth.jsonl')
  assert growth['step'] == 3
  assert growth['operators'] == [
      'ffn_sharing 2 -> 1', 'depth 1 -> 2 (append)', 'query_pool 2 -> 1']
  assert growth['loss_before'] == evaluations[0]['loss']
  assert growth['loss_after'] == evaluations[1]['loss']
  assert {'from', 'to', 'max_logit_difference', 'seconds'} <= growth.keys()
  for split in ('train', 'eval'):
    assert os.listdir(path / 'run' / split)  # TensorBoard


def test_finished_run_does_nothing_more(copied):
  before = (copied / 'run/metrics.jsonl').read_bytes()
  assert train(small_config(copied)).step == 8
  assert (copied / 'run/metrics.jsonl').read_bytes() == before


def test_damaged_newest_checkpoint_is_said_and_passed_over(
    copied, capsys, finished):
  newest = copied / 'run/checkpoints/ckpt-8.data-00000-of-00001'
  content = bytearray(newest.read_bytes())
  content[len(content) // 2] ^= 0xff
  newest.write_bytes(content)
  result = train(small_config(copied))
  assert result.step == 8
  said = capsys.readouterr().err
  assert ('ckpt-8 is damaged (ckpt-8.data-00000-of-00001 does not have the '
          'checksum that it was written with); it is now in ') in said
  assert 'falling back to the one before it' in said
  aside = copied / 'run/checkpoints/damaged/ckpt-8'
  assert (aside / newest.name).read_bytes() == content
  assert "resuming at step 4, stage 'full'" in said
  # What was done again came out as before.
  assert result.metrics['loss'] == pytest.approx(
      finished[1].metrics['loss'], abs=1e-5)


@pytest.mark.parametrize('content', [None, '', 'model_checkpoint_path: "ck'])
def test_run_that_lost_its_list_of_checkpoints_goes_on(copied, content):
  # Otherwise it would begin again at step 0, over the checkpoints there are.
  listing = copied / 'run/checkpoints/checkpoint'
  listing.unlink()
  if content is not None:
    listing.write_text(content)
  checkpoints = RunCheckpoints(str(copied / 'run/checkpoints'))
  said = []
  newest = checkpoints.newest_valid(said.append)
  assert newest == str(copied / 'run/checkpoints/ckpt-8')
  model = tf.Module()
  model.optimizer, model.checkpoint_items = tf.Module(), {}
  saved = checkpoints.save(model, step=9, stage_index=1)
  assert checkpoints.newest_valid(said.append) == saved
  assert tf.train.latest_checkpoint(str(copied / 'run/checkpoints')) == saved
  assert not said


def test_run_without_a_readable_checkpoint_is_refused(copied):
  for file in (copied / 'run/checkpoints').glob('*.data*'):
    file.write_bytes(file.read_bytes()[:100])
  with pytest.raises(ValueError, match='none of the 3 checkpoints in .* can be '
                     'read; restore one from a backup'):
    train(small_config(copied))


def test_another_schedule_in_the_directory_is_refused(copied):
  schedule = GrowthSchedule((
      Stage('half', steps=2, depth=0.5, ffn_sharing=2, query_pool_size=2),
      Stage('full', steps=6)))
  with pytest.raises(ValueError) as error:
    train(small_config(copied, schedule=schedule, batch_size=4))
  message = str(error.value)
  assert 'stages[0].end_step was 3, is 2' in message
  assert 'stages[1].start_step was 3, is 2' in message
  assert 'batch_size was 8, is 4' in message


def test_non_finite_loss_stops_at_a_named_step(tmp_path):
  # One update at this rate overflows float32, so step 2 is the first to see it.
  config = small_config(tmp_path, peak_learning_rate=1e38,
                        gradient_clip_norm=0.0, **ONE_STAGE)
  with pytest.raises(NonFiniteLossError) as error:
    train(config)
  assert 'the loss is not finite since step 2;' in str(error.value)
  assert 'the newest checkpoint, of step 0, is from before' in str(error.value)
  assert os.listdir(tmp_path / 'run/checkpoints')
  # The mend that the message names.
  result = train(dataclasses.replace(
      config, peak_learning_rate=1e-3, gradient_clip_norm=1.0))
  assert result.step == 8


def test_ruined_weights_are_not_saved_though_the_loss_is_finite(tmp_path):
  # Weights decay by more than float32 can say: step 1 still has a loss, but its
  # update leaves nothing to go on from.
  config = small_config(tmp_path, peak_learning_rate=1e38,
                        weight_decay_rate=1e3, log_interval_steps=1,
                        checkpoint_interval_steps=1, **ONE_STAGE)
  with pytest.raises(NonFiniteLossError) as error:
    train(config)
  assert 'the weights are not finite after step 1;' in str(error.value)
  assert 'the newest checkpoint, of step 0, is from before' in str(error.value)
  assert sorted(os.listdir(tmp_path / 'run/checkpoints')) == [
      'checkpoint', 'ckpt-0.data-00000-of-00001', 'ckpt-0.index',
      'ckpt-0.seal.json']


def test_positions_start_as_sinusoids(tmp_path):
  train(small_config(
      tmp_path, position_initializer='sinusoidal', initializer_stddev=0.05,
      num_steps=1, log_interval_steps=1, checkpoint_interval_steps=1,
      max_checkpoints_to_keep=2, **ONE_STAGE))
  weights, _ = read_checkpoint(str(tmp_path / 'run/checkpoints/ckpt-0'))
  positions = weights['embeddings/position']
  np.testing.assert_array_equal(
      positions, sinusoidal_positions(positions.shape, 0.05))


def test_batch_that_replicas_cannot_share_is_refused(tmp_path, mirrored):
  with pytest.raises(ValueError, match='batch_size 7 is not divisible by 2'):
    pretrain(small_config(tmp_path, batch_size=7), config_text='',
             flops_per_step=lambda *_: 1.0,
             strategy=mirrored)


def test_compiling_for_several_cpus_is_refused(tmp_path, mirrored):
  with pytest.raises(ValueError, match='jit_compile is True, but the 2 replicas '
                     'are CPUs, .*; set jit_compile = False or'):
    pretrain(small_config(tmp_path, jit_compile=True), config_text='',
             flops_per_step=lambda *_: 1.0, strategy=mirrored)
