"""Hand-written Examples against protobuf's own; shuffling on disk."""

import os

import hypothesis
from hypothesis import strategies as st
import numpy as np

from official_ext.data import records
from official_ext.data import shards


def _random_rows(num_rows, seq_length, max_predictions, vocab_size, seed):
  rng = np.random.default_rng(seed)
  rows = np.zeros(num_rows, records.row_dtype(
      seq_length, max_predictions, vocab_size))
  rows['key'] = rng.integers(1 << 64, size=num_rows, dtype=np.uint64)
  rows['row'] = np.arange(num_rows)
  rows['length'] = rng.integers(3, seq_length + 1, num_rows)
  rows['b_start'] = rng.integers(2, seq_length, num_rows)
  rows['num_predictions'] = rng.integers(0, max_predictions + 1, num_rows)
  rows['is_random_next'] = rng.integers(0, 2, num_rows)
  rows['ids'] = rng.integers(0, vocab_size, rows['ids'].shape)
  rows['positions'] = rng.integers(0, seq_length, rows['positions'].shape)
  rows['labels'] = rng.integers(0, vocab_size, rows['labels'].shape)
  return rows


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    seq_length=st.integers(8, 600), max_predictions=st.integers(1, 80),
    vocab_size=st.sampled_from([6, 127, 129, 16384, 16385, 65536, 65537, 3000000]),
    seed=st.integers(0, 1000))
def test_examples_are_those_of_protobuf(
    seq_length, max_predictions, vocab_size, seed):
  import tensorflow as tf
  rows = _random_rows(3, seq_length, max_predictions, vocab_size, seed)
  for row, record in zip(rows, records.serialize_rows(rows), strict=True):
    place = np.arange(seq_length)
    features = {
        'input_word_ids': row['ids'],
        'input_mask': place < row['length'],
        'input_type_ids': (place >= row['b_start']) & (place < row['length']),
        'masked_lm_positions': row['positions'],
        'masked_lm_ids': row['labels'],
        'next_sentence_labels': [row['is_random_next']]}
    example = tf.train.Example()
    for name, values in features.items():
      example.features.feature[name].int64_list.value.extend(
          int(value) for value in values)
    example.features.feature['masked_lm_weights'].float_list.value.extend(
        float(k < row['num_predictions']) for k in range(max_predictions))
    assert tf.train.Example.FromString(record) == example
    assert record == example.SerializeToString(deterministic=True)


@hypothesis.settings(max_examples=20)
@hypothesis.given(
    seq_length=st.integers(8, 600),
    vocab_size=st.sampled_from([127, 16385, 65537]), seed=st.integers(0, 1000))
def test_causal_examples_are_those_of_protobuf(seq_length, vocab_size, seed):
  import tensorflow as tf
  rng = np.random.default_rng(seed)
  rows = np.zeros(3, records.row_dtype(seq_length, 0, vocab_size))
  rows['length'] = rng.integers(2, seq_length + 1, 3)
  rows['ids'] = rng.integers(0, vocab_size, rows['ids'].shape)
  for row, record in zip(rows, records.serialize_rows(rows), strict=True):
    example = tf.train.Example()
    for name, values in (
        ('input_word_ids', row['ids']),
        ('input_mask', np.arange(seq_length) < row['length'])):
      example.features.feature[name].int64_list.value.extend(
          int(value) for value in values)
    assert record == example.SerializeToString(deterministic=True)


def _spill_and_write(rows, folder, sort_bytes, parts):
  os.makedirs(folder)
  for part in np.array_split(rows, parts):
    for number, of_shard in shards.rows_by_shard(part, 3):
      shards.spill_rows(str(folder), 'train', number, of_shard)
  contents = []
  for number in range(3):
    path = str(folder / f'{number}.tfrecord')
    shards.write_shard(
        str(folder), 'train', number, 3, rows.dtype, path, sort_bytes)
    with open(path, 'rb') as file:
      contents.append(file.read())
  assert not list(folder.glob('*.rows*'))  # The spill is gone.
  return contents


def test_shuffling_in_pieces_is_shuffling_at_once(tmp_path):
  rows = _random_rows(3000, 16, 3, 100, 5)
  rows['key'][:40] = rows['key'][40:80]  # Equal keys have an order, too.
  at_once = _spill_and_write(rows, tmp_path / 'a', 1 << 30, 1)
  in_pieces = _spill_and_write(rows[::-1], tmp_path / 'b', 4000, 7)
  assert at_once == in_pieces
  import tensorflow as tf
  seen = sum((list(tf.data.TFRecordDataset(str(
      tmp_path / 'a' / f'{n}.tfrecord')).as_numpy_iterator())
              for n in range(3)), [])
  assert sorted(seen) == sorted(records.serialize_rows(rows))
  order = np.argsort(rows['key'], kind='stable')
  assert seen[0] == records.serialize_rows(rows[order[:1]])[0]
