"""Records that are not what the manifest says: found before a run, or named."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data import record_index
from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from official_ext.data.record_index import walk_records
from official_ext.training import pretrain as pretrain_lib
from tests.training import tiny_run


@pytest.fixture(name='config')
def _config(tmp_path):
  config = tiny_run.config(tmp_path)
  write_index(config.data_dir)
  assert config.mistakes(Manifest.read(config.data_dir)) == []
  return config


def write_index(data_dir):
  """As `prepare` does: then nothing but what is needed is read."""
  manifest = Manifest.read(data_dir)
  entries = np.concatenate([
      record_index.read_offsets(data_dir, manifest, split)
      for split in manifest.splits])
  content = record_index.index_bytes(entries)
  pathlib.Path(data_dir, 'record_index.npy').write_bytes(content)
  dataclasses.replace(
      manifest, index=record_index.describe_index(content)).write(data_dir)


def first_size(config):
  return os.path.getsize(f'{config.data_dir}/train-0.tfrecord')


def test_a_shard_cut_short_is_found_before_training(config):
  path = f'{config.data_dir}/train-0.tfrecord'
  size, offsets = first_size(config), list(walk_records(path))
  with open(path, 'r+b') as file:
    file.truncate(offsets[7] + 30)
  assert config.mistakes(Manifest.read(config.data_dir)) == [
      f'data: 1 of 5 files in {config.data_dir} are not as its manifest says, '
      f'the first is train-0.tfrecord (is {offsets[7] + 30}, should be {size} '
      f'bytes); {path}: record 7 at byte {offsets[7]} is cut short, the file ends '
      f'at byte {offsets[7] + 30}; copy them again or prepare the data again']


def test_a_file_of_something_else_is_found_before_training(config):
  size = first_size(config)
  path = f'{config.data_dir}/train-0.tfrecord'
  with open(path, 'w', encoding='ascii') as file:
    file.write('{"text": "not a record"}\n' * 4)
  assert config.mistakes(Manifest.read(config.data_dir)) == [
      f'data: 1 of 5 files in {config.data_dir} are not as its manifest says, '
      f'the first is train-0.tfrecord (is 100, should be {size} bytes); {path}: '
      'record 0 at byte 0 is damaged (the file is no TFRecord file); copy them '
      'again or prepare the data again']


def flip_bit(path, byte):
  content = bytearray(pathlib.Path(path).read_bytes())
  content[byte] ^= 1
  pathlib.Path(path).write_bytes(content)


@pytest.mark.parametrize('shard, record', [('train-2', 29), ('eval-0', 3)])
def test_a_flipped_bit_is_named_when_it_is_read(config, shard, record):
  path = f'{config.data_dir}/{shard}.tfrecord'
  offset = list(walk_records(path))[record]
  flip_bit(path, offset + 40)
  loader = PretrainLoader(config.data_dir, Manifest.read(config.data_dir))
  with pytest.raises(tf.errors.DataLossError) as bare:
    for batches in (loader.training_batches(BatchSlice(8), seed=0).take(8),
                    loader.evaluation_batches(BatchSlice(4), 3)):
      list(batches)
  assert path not in str(bare.value)
  assert str(loader.find_damage(batch_size=8, seed=0, step=0)) == (
      f'{path}: record {record} at byte {offset} is damaged (its checksum is '
      'wrong); copy the file again, or prepare the data again')


def test_a_run_ends_with_the_name_of_the_record(config):
  path = f'{config.data_dir}/train-1.tfrecord'
  offset = list(walk_records(path))[5]
  flip_bit(path, offset + 40)
  with pytest.raises(OSError, match=(
      f'^{path}: record 5 at byte {offset} is damaged .its checksum is wrong.; '
      'copy the file again, or prepare the data again$')):
    pretrain_lib.pretrain(
        config, config_text='', flops_per_step=lambda stage, predictions: 1.0)


def test_one_shard_feeds_more_workers_than_there_are_shards(tmp_path):
  data_dir = tiny_run.write_data(tmp_path / 'data', shard_sizes=(40,))
  loader = PretrainLoader(data_dir, Manifest.read(data_dir))
  whole = next(iter(loader.training_batches(BatchSlice(8), seed=1)))
  parts = [next(iter(loader.training_batches(
      BatchSlice(8, num_pipelines=4, pipeline=worker, num_replicas=4), seed=1)))
           for worker in range(4)]
  np.testing.assert_array_equal(
      np.concatenate([part['input_word_ids'] for part in parts]),
      whole['input_word_ids'])
