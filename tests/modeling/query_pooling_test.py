"""Pooled queries against a loop over tokens in numpy."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext.modeling import query_pooling


def _loop(embeddings, mask, positions, pool_size, pool_type):
  """One sequence: rows, row mask, overflow, token by token."""
  sequence, hidden = embeddings.shape
  num_slots = max(0, int(np.ceil((sequence - 1 - len(positions)) / pool_size)))
  reduce = {'mean': np.mean, 'max': np.max}[pool_type]
  tokens = [s for s in range(1, sequence)
            if mask[s] and s not in list(positions)]
  runs = [tokens[i:i + pool_size] for i in range(0, len(tokens), pool_size)]
  overflow = sum(len(run) for run in runs[num_slots:])
  runs = runs[:num_slots]
  rows, row_mask = [embeddings[0]], [mask[0]]
  for run in runs:
    rows.append(reduce([embeddings[s] for s in run], axis=0))
    row_mask.append(1)
  for _ in range(num_slots - len(runs)):
    rows.append(np.zeros(hidden))
    row_mask.append(0)
  for position in positions:
    rows.append(embeddings[position])
    row_mask.append(int(position > 0))
  return np.stack(rows), np.array(row_mask), overflow


@pytest.mark.parametrize('pool_type', ['mean', 'max'])
@pytest.mark.parametrize('pool_size', [2, 3, 5])
def test_equals_a_loop_over_the_tokens(pool_size, pool_type):
  random = np.random.default_rng(pool_size)
  overflows = 0
  for _ in range(30):
    batch, hidden = 3, 2
    sequence = int(random.integers(6, 24))
    predictions = int(random.integers(1, sequence // 2))
    embeddings = random.normal(size=(batch, sequence, hidden)) - 3
    mask = np.zeros((batch, sequence), np.int64)
    positions = np.zeros((batch, predictions), np.int64)
    for row in range(batch):
      length = min(sequence, int(random.integers(2, 2 * sequence)))
      mask[row, :length] = 1
      count = min(int(random.integers(0, predictions + 1)), length - 1)
      positions[row, :count] = np.sort(
          random.choice(np.arange(1, length), count, replace=False))
    got = query_pooling.pool_queries(
        tf.constant(embeddings), tf.constant(mask), tf.constant(positions),
        pool_size, pool_type)
    for row in range(batch):
      rows, row_mask, overflow = _loop(
          embeddings[row], mask[row], positions[row], pool_size, pool_type)
      np.testing.assert_allclose(got.queries[row], rows, rtol=0, atol=1e-14)
      np.testing.assert_array_equal(got.mask[row], row_mask)
      assert int(got.overflow_tokens[row]) == overflow
      overflows += overflow
  assert overflows  # the cases do reach it


def test_without_predictions_everything_but_cls_is_pooled():
  embeddings = np.arange(8.0).reshape(1, 8, 1)
  got = query_pooling.pool_queries(
      tf.constant(embeddings), tf.ones([1, 8], tf.int32), None, 3)
  np.testing.assert_allclose(got.queries[0, :, 0], [0, 2, 5, 7])
  np.testing.assert_array_equal(got.mask[0], [1, 1, 1, 1])


@pytest.mark.parametrize('is_static', [True, False])
@pytest.mark.parametrize('sequence, predictions, slots, empty', [
    (193, 30, 81, 0),   # 1 + 81 + 30 = 112 rows: less than the lanes
    (225, 32, 103, 7),  # 1 + 96 + 32 = 129 rows: 7 more
    (512, 76, 219, 1),  # 1 + 218 + 76 = 295 rows
])
def test_many_rows_are_whole_tiles(
    sequence, predictions, slots, empty, is_static):
  random = np.random.default_rng(0)
  embeddings = random.normal(size=(1, sequence, 2))
  mask = np.ones((1, sequence), np.int64)
  positions = 1 + np.arange(predictions)[np.newaxis]
  shapes = [(1, sequence, 2), (1, sequence), (1, predictions)]
  pool = tf.function(
      lambda *tensors: query_pooling.pool_queries(*tensors, 2),
      input_signature=[
          tf.TensorSpec(shape if is_static else [None, None, *shape[2:]], dtype)
          for shape, dtype in zip(
              shapes, (tf.float64, tf.int64, tf.int64), strict=True)])
  got = pool(embeddings, mask, positions)
  rows, row_mask, _ = _loop(embeddings[0], mask[0], positions[0], 2, 'mean')
  used = 1 + slots - empty
  np.testing.assert_allclose(got.queries[0, :used], rows[:used], atol=1e-14)
  np.testing.assert_array_equal(got.queries[0, used:1 + slots], np.zeros((empty, 2)))
  np.testing.assert_array_equal(got.queries[0, 1 + slots:], rows[used:])
  np.testing.assert_array_equal(
      got.mask[0], [*row_mask[:used], *[0] * empty, *row_mask[used:]])


def test_padding_has_no_gradient_and_slot_members_share_theirs():
  embeddings = tf.Variable(tf.ones([1, 6, 1], tf.float64))
  with tf.GradientTape() as tape:
    got = query_pooling.pool_queries(
        embeddings, tf.constant([[1, 1, 1, 1, 1, 0]]), tf.constant([[2]]), 2)
    loss = tf.reduce_sum(got.queries)
  # [CLS]; 1 and 3 share a slot around the masked 2; 4 has one alone.
  np.testing.assert_allclose(
      tape.gradient(loss, embeddings)[0, :, 0], [1, .5, 1, .5, 1, 0])
