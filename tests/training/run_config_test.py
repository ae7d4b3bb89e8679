"""Every mistake that a run can contain, and what its message says."""

import dataclasses
import hashlib
import os
import pickle

import pytest

from official_ext.data.manifest import Manifest
from official_ext.data.manifest import Split
from official_ext.growth.architecture import Architecture
from official_ext.mistakes import ConfigurationError
from official_ext.schedules import bert2bert
from official_ext.schedules import compound_grow
from official_ext.schedules import data_truncation
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import scratch
from official_ext.schedules import Stage
from official_ext.training import config_fields
from official_ext.training.run_config import PretrainConfig
from tests.training import tiny_run

ARCHITECTURE = Architecture(
    num_layers=4, hidden_size=8, num_heads=2, inner_size=16, vocab_size=40,
    max_positions=24)
GPT = Architecture(
    family='gpt', num_layers=4, hidden_size=8, num_heads=2, inner_size=16,
    vocab_size=40, max_positions=24)


EXACT = dict(optimizer_growth='continue', gradient_clip_norm=0.0,
             noise_scale=0.0, output_dropout=0.0, attention_dropout=0.0)


def two_stages(**small):
  return GrowthSchedule((
      Stage('small', fraction=0.5, **small), Stage('full', fraction=0.5)))


def make_config(**changes):
  return PretrainConfig(**{
      'architecture': ARCHITECTURE, 'schedule': compound_grow(), 'num_steps': 100,
      'batch_size': 4, 'model_dir': 'run', 'data_dir': 'data',
      'num_predictions': 3, **changes})


def make_manifest(**changes):
  splits = {
      'train': Split(examples=64, documents=9, tokens=999, shards=()),
      'eval': Split(examples=4, documents=1, tokens=99, shards=())}
  return Manifest(**{
      'seq_length': 24, 'max_predictions_per_seq': 3, 'vocab_size': 40,
      'vocab_sha256': 'a' * 64, 'tokenizer': {}, 'seed': 0, 'settings': {},
      'corpus': {}, 'splits': splits, 'versions': {}, **changes})


def test_a_sound_run_has_no_mistakes():
  assert make_config().mistakes(make_manifest(), num_replicas=2) == []
  make_config().check(make_manifest())


def test_every_field_is_documented_and_checked():
  names = [field.name for field in dataclasses.fields(PretrainConfig)]
  for name in names:
    assert f'    {name}: ' in PretrainConfig.__doc__, name
    assert config_fields.field_mistakes({name: object()}), name


def test_restarts_and_starts_that_exclude_each_other():
  found = make_config(
      learning_rate_restart='stage', growth_warmup_steps=5).mistakes()
  assert len(found) == 1
  assert 'growth_warmup_steps is 5' in found[0]
  assert "learning_rate_restart 'stage'" in found[0]
  # Every stage warms up, so the shortest has to be long enough.
  found = make_config(
      learning_rate_restart='stage', warmup_steps=25).mistakes()
  assert found and all('warmup_steps is 25' in line for line in found)
  assert make_config(warmup_steps=20).mistakes() == []
  found = make_config(
      position_initializer='sinusoidal', init_checkpoint='missing').mistakes()
  assert any('position_initializer' in line and 'init_checkpoint' in line
             for line in found)


def test_shares_of_masked_tokens():
  assert make_config(masking='dynamic').mistakes(make_manifest()) == []
  found = make_config(masked_share=0.2).mistakes()
  assert len(found) == 1
  assert 'masked_share is 0.2' in found[0] and "masking = 'dynamic'" in found[0]
  # Three slots for 24 tokens.
  fits = make_config(masking='dynamic', masked_share=0.1,
                     final_masked_share=0.125)
  assert fits.mistakes(make_manifest()) == []
  found = make_config(masking='dynamic', masked_share=0.1,
                      final_masked_share=0.2).mistakes(make_manifest())
  assert len(found) == 1
  for words in ('share 0.2 of 24 tokens', '4.8 predictions', 'room for 3',
                'at most 0.125'):
    assert words in found[0]
  found = make_config(architecture=GPT, num_predictions=0, masking='dynamic',
                      use_next_sentence=False, schedule=scratch()).mistakes()
  assert len(found) == 1 and 'GPT predicts every token' in found[0]


@pytest.mark.parametrize('name, value, message', [
    ('num_steps', 0, 'num_steps is 0; give a whole number of at least 1'),
    ('num_steps', 1e6,
     'num_steps is 1000000.0; write it as a whole number: 1000000'),
    ('batch_size', True,
     'batch_size is True; give a whole number of at least 1'),
    ('num_predictions', '3',
     "num_predictions is '3'; give a whole number of at least 0"),
    ('eval_steps', 0, 'eval_steps is 0; give a whole number of at least 1'),
    ('warmup_steps', -1,
     'warmup_steps is -1; give a whole number of at least 0'),
    ('num_replicas', 0,
     'num_replicas is 0; give a whole number of at least 1'),
    ('peak_learning_rate', 0,
     'peak_learning_rate is 0; give a number above 0'),
    ('peak_learning_rate', float('nan'),
     'peak_learning_rate is nan; give a number above 0'),
    ('weight_decay_rate', '0.01',
     "weight_decay_rate is '0.01'; give a number at least 0"),
    ('gradient_clip_norm', -1.0,
     'gradient_clip_norm is -1.0; give a number at least 0'),
    ('output_dropout', 1.0,
     'output_dropout is 1.0; give a number at least 0 and below 1'),
    ('use_next_sentence', 'yes',
     "use_next_sentence is 'yes'; give True or False"),
    ('jit_compile', 1, 'jit_compile is 1; give True or False'),
    ('tpu', None, 'tpu is None; give a quoted string'),
    ('model_dir', 7, 'model_dir is 7; give a path as a quoted string'),
    ('architecture', 7,
     'architecture is 7; give an Architecture (in gin: @model())'),
    ('schedule', 7,
     'schedule is 7; give a GrowthSchedule (in gin: @compound_grow())'),
    ('optimizer', 'lamp',
     "optimizer is 'lamp', not one of 'adamw', 'lamb'; did you mean 'lamb'?"),
    ('precision', 'bfloat16',
     "precision is 'bfloat16', not one of 'float32', 'mixed_bfloat16'; did you "
     "mean 'mixed_bfloat16'?"),
    ('query_pool_type', 3, "query_pool_type is 3, not one of 'mean', 'max'"),
    ('optimizer_growth', 'keep',
     "optimizer_growth is 'keep', not one of 'reset', 'transfer', 'continue'; "
     'known: continue, reset, transfer'),
    ('strategy', 'miror',
     "strategy is 'miror', not one of 'one_device', 'mirrored', 'multi_worker', "
     "'tpu'; did you mean 'mirrored'?"),
])
def test_a_wrong_field(name, value, message):
  assert make_config(**{name: value}).mistakes() == [message]


@pytest.mark.parametrize('changes, message', [
    ({'model_dir': None},
     'model_dir is missing (where the run goes); give --model_dir'),
    ({'data_dir': ''},
     'data_dir is missing (what `prepare` wrote); give --data_dir'),
    ({'architecture': ARCHITECTURE.replace(num_layers=6)},
     "schedule: stage 'quarter': depth 0.25 of 6 layers is 1.5 layers; choose a "
     'depth that gives a whole number, or give num_layers'),
    ({'architecture': ARCHITECTURE.replace(ffn_sharing=2),
      'schedule': scratch()},
     'architecture is a treated one; the target has query_pool_size and '
     'ffn_sharing 1, no ffn_rank and no norm_source_size: treatments belong to '
     'the stages of the schedule'),
    ({'architecture': ARCHITECTURE.replace(sequence_length=12)},
     'architecture has sequence_length 12 but max_positions 24; a run trains all '
     'positions: leave sequence_length out and set max_positions to the length'),
    ({'num_predictions': 0},
     'num_predictions is 0; give a whole number of at least 1'),
    ({'architecture': GPT, 'use_next_sentence': False,
      'schedule': scratch()},
     'num_predictions is 3, but a GPT predicts every token; give 0'),
    ({'architecture': GPT, 'num_predictions': 0, 'schedule': scratch()},
     'use_next_sentence is True, but a GPT reads no pairs of sentences; give '
     'False'),
    ({'schedule': bert2bert(), 'optimizer_growth': 'transfer'},
     "optimizer_growth is 'transfer', but the first stage, 'sub_models', trains "
     'sub-models of 1, 2, 3 or 4 layers only: the other weights have no moments to '
     "keep; give 'reset'"),
    ({'optimizer_growth': 'continue', 'gradient_clip_norm': 0.0,
      'output_dropout': 0.0, 'attention_dropout': 0.0, 'schedule': scratch()},
     "noise_scale is 0.1, but optimizer_growth is 'continue', a test of "
     'exactness; give 0'),
    ({**EXACT, 'schedule': two_stages(depth=0.5)},
     "optimizer_growth is 'continue', a test of exactness, but stage 'full' "
     "cannot go on exactly (depth 'append': the stack is repeated on top of "
     "itself (StackBERT); it does not preserve the function); give 'transfer'"),
    ({**EXACT, 'schedule': two_stages(ffn_rank=2)},
     "optimizer_growth is 'continue', a test of exactness, but stage 'full' "
     "cannot go on exactly (ffn_rank 2 -> None); give 'transfer'"),
    ({'init_checkpoint': 'nowhere'},
     'init_checkpoint: nowhere has no checkpoint; give a run directory of '
     '`train`, a directory that `grow` or `convert` wrote, or the prefix of a '
     'checkpoint (folder/ckpt-100)'),
    ({'schedule': data_truncation(length=0.5)},
     "stage_data_dirs: no data of 12 tokens for stage 'short'; prepare the text "
     'with --seq_length 12 and the same --vocab_file, and add the directory'),
    ({'stage_data_dirs': ['nowhere']},
     'stage_data_dirs: nowhere holds no manifest.json; make the data with '
     '`python -m official_ext.prepare --output_dir nowhere`'),
    ({'num_predictions': 22},
     'num_predictions is 22, but a sequence of 24 tokens has 21 that can be '
     'masked; give fewer predictions or longer sequences'),
    ({'warmup_steps': 21},
     "warmup_steps is 21, longer than stage 'quarter' with its 20 steps; warm up "
     'for fewer'),
    ({'growth_warmup_steps': 25},
     "growth_warmup_steps is 25, longer than stage 'half' with its 20 steps; "
     'warm up for fewer'),
    ({'checkpoint_interval_steps': 150},
     'checkpoint_interval_steps 150 is not a multiple of log_interval_steps 100; '
     'give 200'),
    ({'strategy': 'tpu'},
     "tpu is missing though strategy is 'tpu'; give --tpu with its name, or "
     "'local' on a TPU VM"),
    ({'tpu': 'my-tpu'},
     "tpu is 'my-tpu' but strategy is 'one_device'; set strategy = 'tpu' or drop "
     'tpu'),
    ({'num_replicas': 2},
     "num_replicas is 2 but strategy 'one_device' has one; set strategy = "
     "'mirrored' or drop num_replicas"),
    ({'strategy': 'multi_worker', 'num_replicas': 2},
     "num_replicas is 2, but strategy 'multi_worker' uses all devices there are; "
     'drop num_replicas'),
    ({'strategy': 'mirrored', 'num_replicas': 3},
     'batch_size 4 is not divisible by 3 replicas; the nearest that is: 3'),
    ({'strategy': 'mirrored', 'num_replicas': 2, 'batch_size': 250,
      'gradient_accumulation_steps': 4},
     'batch_size 250 is not divisible by 2 x 4 (replicas x '
     'gradient_accumulation_steps); the nearest that is: 248'),
    ({'gradient_accumulation_steps': 8},
     'batch_size 4 is not divisible by 1 x 8 (replicas x '
     'gradient_accumulation_steps); the nearest that is: 8'),
])
def test_fields_that_do_not_go_together(changes, message):
  assert make_config(**changes).mistakes() == [message]


def test_the_replicas_of_a_live_strategy_count():
  assert make_config().mistakes(num_replicas=8) == [
      'batch_size 4 is not divisible by 8 replicas; the nearest that is: 8']


def test_steps_that_do_not_add_up():
  schedule = GrowthSchedule((Stage('a', steps=40), Stage('b', steps=50)))
  (line,) = make_config(schedule=schedule).mistakes()
  assert line.startswith("schedule: stage 'a' steps 40, stage 'b' steps 50: "
                         'together 90 of num_steps 100; lengthen a stage by 10')


def test_planning_needs_no_directories():
  config = make_config(model_dir=None, data_dir=None)
  assert config.mistakes(require_directories=False) == []


def test_all_mistakes_come_at_once():
  config = make_config(
      optimizer='sgd', batch_size=5, num_steps='ten', num_replicas=2,
      strategy='mirrored', model_dir=None, seed=-1)
  mistakes = config.mistakes()
  assert len(mistakes) == 5
  with pytest.raises(ConfigurationError) as caught:
    config.check()
  assert isinstance(caught.value, ValueError)
  assert caught.value.mistakes == tuple(mistakes)
  assert str(caught.value) == '5 mistakes:\n  ' + '\n  '.join(mistakes)
  assert pickle.loads(pickle.dumps(caught.value)).mistakes == tuple(mistakes)


@pytest.mark.parametrize('changes, message', [
    ({'seq_length': 32},
     'data: seq_length is 32 in the manifest of data, but sequence_length is 24 '
     'in the model; set model.max_positions to 32 or prepare the data again'),
    ({'max_predictions_per_seq': 4},
     'data: max_predictions_per_seq is 4 in the manifest of data, but '
     'num_predictions is 3 in the model; set train.num_predictions to 4 or '
     'prepare the data again'),
    ({'vocab_size': 39},
     'data: vocab_size is 39 in the manifest of data, but vocab_size is 40 in '
     'the model; set model.vocab_size to 39 or prepare the data again'),
    ({'splits': {
        'train': Split(examples=3, documents=1, tokens=9, shards=()),
        'eval': Split(examples=1, documents=1, tokens=9, shards=())}},
     'data: data has 3 examples to train on, fewer than batch_size 4; prepare '
     'more text or use a smaller batch'),
    ({'splits': {
        'train': Split(examples=9, documents=1, tokens=9, shards=())}},
     'data: data has no held-out examples; prepare more text'),
])
def test_data_that_disagrees_with_the_model(changes, message):
  assert make_config().mistakes(make_manifest(**changes)) == [message]


def test_a_vocabulary_other_than_the_expected_one():
  config = make_config(vocab_sha256='b' * 64)
  assert config.mistakes(make_manifest()) == [
      f'data: the vocabulary of data has the hash {"a" * 64}, but vocab_sha256 '
      f'is {"b" * 64}; use the data that the hash came from']


def test_a_vocabulary_changed_after_the_records_were_written(tmp_path):
  (tmp_path / 'vocab.txt').write_bytes(b'[PAD]\n')
  actual = hashlib.sha256(b'[PAD]\n').hexdigest()
  config = make_config(data_dir=str(tmp_path))
  assert config.mistakes(make_manifest(vocab_sha256=actual)) == []
  assert config.mistakes(make_manifest()) == [
      f'data: {tmp_path}/vocab.txt has the hash {actual}, but its manifest says '
      f'{"a" * 64}; the file was changed after the records were written: prepare '
      'the data again']


@pytest.fixture(name='short_first')
def _short_first(tmp_path):
  """A run with a short stage, and its data directories."""
  whole = tiny_run.write_data(tmp_path / 'whole')
  short = tiny_run.write_data(tmp_path / 'short', sequence_length=8)
  config = tiny_run.config(
      tmp_path, data_dir=whole, stage_data_dirs=[short], num_steps=4,
      schedule=GrowthSchedule((
          Stage('short', steps=2, length=0.5), Stage('full', steps=2))))
  assert config.mistakes(Manifest.read(whole)) == []
  return config, whole, short


def test_records_that_are_missing_or_cut(short_first):
  config, whole, short = short_first
  manifest = Manifest.read(whole)
  size = manifest.splits['train'].shards[1].bytes
  with open(f'{whole}/train-1.tfrecord', 'r+b') as file:
    file.truncate(100)
  assert config.mistakes(manifest) == [
      f'data: 1 of 4 files in {whole} are not as its manifest says, the first is '
      f'train-1.tfrecord (is 100, should be {size} bytes); '
      f'{whole}/train-1.tfrecord: record 0 at byte 0 is cut short, the file ends '
      'at byte 100; copy them again or prepare the data again']
  tiny_run.write_data(whole)
  os.remove(f'{short}/train-0.tfrecord')
  assert config.mistakes(manifest) == [
      f'stage_data_dirs: 1 of 4 files in {short} are not as its manifest says, '
      'the first is train-0.tfrecord (is missing, should be '
      f'{Manifest.read(short).splits["train"].shards[0].bytes} bytes); copy them '
      'again or prepare the data again']


def test_short_data_without_enough_examples(short_first):
  config, whole, short = short_first
  manifest = Manifest.read(short)
  dataclasses.replace(
      manifest, splits={'eval': manifest.splits['eval']}).write(short)
  assert config.mistakes(Manifest.read(whole)) == [
      f'stage_data_dirs: {short} has 0 examples to train on, fewer than '
      'batch_size 8; prepare more text or use a smaller batch']


def test_a_run_directory_that_is_a_file_is_refused(tmp_path):
  path = tmp_path / 'run'
  path.write_text('')
  assert make_config(model_dir=str(path)).mistakes() == [
      f'model_dir is {str(path)!r}, which is a file; give a directory']


def test_a_run_directory_that_cannot_be_written_to_is_refused(tmp_path):
  path = tmp_path / 'run'
  path.mkdir(mode=0o500)
  # Permissions mean nothing to root.
  user, is_root = 65534, not os.geteuid()
  if is_root:
    for parent in (path, *path.parents[:2]):
      os.chown(parent, user, -1)
    os.seteuid(user)
  try:
    found = make_config(model_dir=str(path), seed=-1).mistakes()
    below = make_config(model_dir=str(path / 'a/b')).mistakes()
  finally:
    if is_root:
      os.seteuid(0)
  reason = ('where nothing can be written (Permission denied); give a directory '
            'of yours, or mend its permissions')
  # With all other mistakes, and before any device is taken.
  assert found == ['seed is -1; give a whole number of at least 0',
                   f'model_dir is {str(path)!r}, {reason}']
  assert below == [f'model_dir is {str(path / "a/b")!r}, {reason}']
  assert not list(path.iterdir())
