"""Batches: every example once an epoch, the same ones after a resume."""

import collections

import numpy as np
import pytest

from official_ext.data.loader import BatchSlice
from official_ext.downstream import packed_examples
from official_ext.downstream.packed_examples import PackedExamples

SIZES = (3, 8, 5, 1, 6, 2, 7)


@pytest.fixture(name='examples')
def _examples():
  """Example i consists of the words i, of type i % 2."""
  words = np.repeat(np.arange(len(SIZES)), SIZES).astype(np.int32)
  return PackedExamples(
      words, words % 2, np.cumsum([0, *SIZES]),
      {'label_ids': np.arange(len(SIZES), dtype=np.int32) * 10})


def rows(batches):
  return [batch['row'].numpy().tolist() for batch in batches]


def train(examples, start=0, stop=7, seed=3, **slices):
  return packed_examples.training_batches(
      examples, BatchSlice(3, **slices), length=8, seed=seed, start_step=start,
      num_steps=stop)


def test_a_batch_holds_the_examples_padded(examples):
  for batch in train(examples):
    batch = {name: value.numpy() for name, value in batch.items()}
    for place, row in enumerate(batch['row']):
      padded = np.zeros(8, np.int32)
      padded[:SIZES[row]] = row
      np.testing.assert_array_equal(batch['input_word_ids'][place], padded)
      np.testing.assert_array_equal(
          batch['input_type_ids'][place],
          [row % 2] * SIZES[row] + [0] * (8 - SIZES[row]))
      assert batch['input_mask'][place].tolist() == (
          [1] * SIZES[row] + [0] * (8 - SIZES[row]))
      assert batch['label_ids'][place] == 10 * row
    assert {value.dtype for value in batch.values()} == {np.dtype(np.int32)}


def test_three_epochs_have_every_example_three_times_in_other_orders(examples):
  order = sum(rows(train(examples)), [])
  epochs = [order[start:start + 7] for start in (0, 7, 14)]
  assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 3
  assert len({tuple(epoch) for epoch in epochs}) == 3
  assert order != sum(rows(train(examples, seed=4)), [])


@pytest.mark.parametrize('start', [0, 1, 3, 6, 7])
def test_a_resumed_trial_sees_what_is_left(examples, start):
  assert rows(train(examples, start)) == rows(train(examples))[start:]


def test_replicas_and_pipelines_share_each_batch(examples):
  whole = rows(packed_examples.training_batches(
      examples, BatchSlice(4), length=8, seed=0, start_step=0, num_steps=3))
  shares = collections.defaultdict(list)
  for pipeline in range(2):
    slices = BatchSlice(4, num_pipelines=2, pipeline=pipeline, num_replicas=4)
    for place, batch in enumerate(rows(packed_examples.training_batches(
        examples, slices, length=8, seed=0, start_step=0, num_steps=3))):
      shares[place // 2] += batch
  assert list(shares.values()) == whole


def test_an_evaluation_sees_all_in_order_and_fills_the_last_batch(examples):
  batches = packed_examples.evaluation_batches(
      examples, BatchSlice(3), length=8)
  assert rows(batches) == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]


@pytest.mark.parametrize('seq_length, length', [(128, 8), (8, 8), (6, 6)])
def test_batches_are_as_long_as_the_longest_example(examples, seq_length, length):
  assert packed_examples.static_length([examples], seq_length) == length
  longer = PackedExamples(np.zeros(9), np.zeros(9), np.array([0, 9]))
  assert packed_examples.static_length([examples, longer], 128) == 16
