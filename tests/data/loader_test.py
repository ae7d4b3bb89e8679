"""Batches are a pure function of seed and step."""

import random

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data import build
from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from official_ext.data.settings import PrepareSettings
from tests.training import tiny_run

TRAIN_RECORDS = 63


@pytest.fixture(scope='module')
def loader(tmp_path_factory):
  data_dir = tiny_run.write_data(tmp_path_factory.mktemp('data'))
  return PretrainLoader(data_dir, Manifest.read(data_dir))


def first_batches(dataset, count):
  return [np.asarray(batch['input_word_ids']) for batch in dataset.take(count)]


def rows_of(batches):
  return [tuple(row) for batch in batches for row in batch]


def test_starting_later_gives_the_same_batches(loader):
  rows = BatchSlice(8)
  whole = first_batches(loader.training_batches(rows, seed=3), 30)
  # In the first shard, across a shard's and across an epoch's end.
  for start in (1, 2, 3, 7, 8, 20):
    resumed = first_batches(
        loader.training_batches(rows, seed=3, start_step=start), 30 - start)
    np.testing.assert_array_equal(resumed, whole[start:])


def test_every_epoch_holds_every_record_once_in_another_order(loader):
  batches = loader.training_batches(BatchSlice(21), seed=3)
  rows = rows_of(first_batches(batches, 6))
  first, second = rows[:TRAIN_RECORDS], rows[TRAIN_RECORDS:]
  assert len(set(first)) > 50  # Records differ, so that order can be seen.
  assert sorted(first) == sorted(second)
  assert first != second


def test_the_seed_changes_the_order(loader):
  one, other = (
      first_batches(loader.training_batches(BatchSlice(8), seed=seed), 3)
      for seed in (1, 2))
  assert rows_of(one) != rows_of(other)


@pytest.mark.parametrize('num_pipelines', [1, 2, 4])
def test_workers_and_replicas_only_cut_the_same_global_batch(
    loader, num_pipelines):
  whole = first_batches(
      loader.training_batches(BatchSlice(8), seed=5, start_step=2), 4)
  parts = [
      first_batches(
          loader.training_batches(
              BatchSlice(8, num_pipelines=num_pipelines, pipeline=pipeline,
                         num_replicas=4), seed=5, start_step=2),
          4 * 4 // num_pipelines)
      for pipeline in range(num_pipelines)]
  per_step = 4 // num_pipelines  # Replica batches that a pipeline feeds a step.
  for step in range(4):
    together = np.concatenate([
        batch for part in parts
        for batch in part[step * per_step:(step + 1) * per_step]])
    np.testing.assert_array_equal(together, whole[step])


def test_batches_have_static_shapes_and_types_for_a_tpu(loader):
  spec = loader.training_batches(BatchSlice(8), seed=0).element_spec
  assert {name: tuple(s.shape) for name, s in spec.items()} == {
      'input_word_ids': (8, 16), 'input_mask': (8, 16),
      'input_type_ids': (8, 16), 'masked_lm_positions': (8, 3),
      'masked_lm_ids': (8, 3), 'masked_lm_weights': (8, 3),
      'next_sentence_labels': (8, 1)}
  assert {s.dtype for s in spec.values()} == {tf.int32, tf.float32}


def test_evaluation_repeats_a_short_split(loader):
  batches = first_batches(loader.evaluation_batches(BatchSlice(8), 3), 9)
  assert len(batches) == 3
  rows = rows_of(batches)
  assert rows[:12] == rows[12:]


@pytest.fixture(scope='module')
def causal_folder(tmp_path_factory):
  return tmp_path_factory.mktemp('causal')


@pytest.fixture(scope='module')
def causal_loader(causal_folder):
  folder = causal_folder
  rng = random.Random(4)
  (folder / 'a.txt').write_text('\n\n'.join(
      ' '.join(rng.choices('fa dori kemu lanto mivvel nok rus'.split(), k=9))
      for _ in range(80)))
  manifest = build.prepare(
      str(folder / 'data'), [str(folder / 'a.txt')], PrepareSettings(
          objective='causal_lm', vocab_size=40, seq_length=16, num_shards=3,
          eval_fraction=0.1), num_workers=1)
  return PretrainLoader(str(folder / 'data'), manifest)


def test_causal_batches_hold_every_record_once_an_epoch(
    causal_loader, causal_folder):
  records = sorted(
      tuple(tf.train.Example.FromString(record.numpy()).features.feature[
          'input_word_ids'].int64_list.value)
      for path in (causal_folder / 'data').glob('train-*')
      for record in tf.data.TFRecordDataset(str(path)))
  batches = causal_loader.training_batches(BatchSlice(1), seed=3)
  assert sorted(rows_of(first_batches(batches, len(records)))) == records


def test_causal_batches_depend_on_seed_and_step_alone(causal_loader):
  rows = BatchSlice(8)
  whole = first_batches(causal_loader.training_batches(rows, seed=3), 12)
  for start in (1, 5, 10):
    resumed = first_batches(causal_loader.training_batches(
        rows, seed=3, start_step=start), 12 - start)
    np.testing.assert_array_equal(resumed, whole[start:])
  other = first_batches(causal_loader.training_batches(rows, seed=4), 12)
  assert rows_of(whole) != rows_of(other)


def test_causal_batches_have_static_shapes_and_types_for_a_tpu(causal_loader):
  for batches in (causal_loader.training_batches(BatchSlice(8), seed=0),
                  causal_loader.evaluation_batches(BatchSlice(8), 1)):
    spec = batches.element_spec
    assert {name: (tuple(s.shape), s.dtype) for name, s in spec.items()} == {
        'input_word_ids': ((8, 16), tf.int32), 'input_mask': ((8, 16), tf.int32)}
