"""The order of records: whole epochs, any step, any number of workers."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data import record_index
from official_ext.data.record_order import RecordOrder
from official_ext.data.record_order import Rows

# Blocks of 64: the shards have 5, 3 and 1, the last of each cut short.
COUNTS = (300, 130, 1)
NUM_RECORDS = sum(COUNTS)


def write_records(folder, counts, size_bytes=0):
  """Records that begin with their number; returns paths and index entries."""
  paths, of_shards, number = [], [], 0
  for shard, count in enumerate(counts):
    paths.append(str(folder / f'{shard}.tfrecord'))
    records = [f'{number + i} '.encode().ljust(size_bytes, b'.')
               for i in range(count)]
    number += count
    with tf.io.TFRecordWriter(paths[-1]) as writer:
      for record in records:
        writer.write(record)
    offsets = np.cumsum([0] + [len(record) + 16 for record in records])
    of_shards.append(np.append(offsets[:-1:64], offsets[-1]))
  return paths, np.concatenate(of_shards)


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
  return write_records(tmp_path_factory.mktemp('records'), COUNTS)


def numbers(order, rows, num_steps, start_step=0):
  """int [steps, rows] of the records' numbers."""
  steps = order.records(rows, start_step).take(num_steps)
  return np.array([[int(record.split()[0]) for record in step]
                   for step in steps.as_numpy_iterator()])


def whole(stored, batch_size, num_steps, start_step=0, seed=3):
  paths, entries = stored
  order = RecordOrder(
      paths, COUNTS, entries, batch_size=batch_size, seed=seed)
  return numbers(order, Rows(batch_size, 0, batch_size), num_steps, start_step)


def test_the_index_holds_every_64th_offset_and_the_end(stored):
  paths, entries = stored
  walked = [[*list(record_index.walk_records(path))[::64], os.path.getsize(path)]
            for path in paths]
  assert [len(part) for part in walked] == [6, 4, 2]
  np.testing.assert_array_equal(np.concatenate(walked), entries)


@pytest.mark.parametrize('batch_size', [1, 7, 100, NUM_RECORDS, 1000])
def test_every_epoch_holds_every_record_once_in_another_order(
    stored, batch_size):
  num_epochs = 4
  steps = -(-num_epochs * NUM_RECORDS // batch_size)
  read = whole(stored, batch_size, steps).ravel()
  epochs = read[:num_epochs * NUM_RECORDS].reshape(num_epochs, NUM_RECORDS)
  for epoch in epochs:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(NUM_RECORDS))
  assert len({tuple(epoch) for epoch in epochs}) == num_epochs
  if batch_size < 100:
    # Neighbours on disk are not neighbours in training.
    assert np.mean(np.diff(epochs[0]) == 1) < 0.05


def test_any_step_can_be_begun_with(stored):
  batches = whole(stored, 8, 130)
  # Groups are of 53 steps, an epoch ends in step 53.
  for start in (1, 53, 107):
    np.testing.assert_array_equal(
        whole(stored, 8, 130 - start, start), batches[start:])


@pytest.mark.parametrize('share', [1, 4, 6])
def test_workers_divide_the_rows_of_the_same_batches(stored, share):
  paths, entries = stored
  order = RecordOrder(paths, COUNTS, entries, batch_size=12, seed=3)
  batches = whole(stored, 12, 80, 30)
  for first in {0, share, 12 - share}:
    np.testing.assert_array_equal(
        numbers(order, Rows(12, first, share), 80, start_step=30),
        batches[:, first:first + share])


def test_the_seed_and_nothing_else_changes_the_order(stored):
  np.testing.assert_array_equal(whole(stored, 8, 60), whole(stored, 8, 60))
  assert not np.array_equal(whole(stored, 8, 60), whole(stored, 8, 60, seed=4))


def test_without_a_seed_records_come_as_they_are_stored(stored):
  read = whole(stored, 50, 20, seed=None).ravel()
  np.testing.assert_array_equal(read, np.arange(1000) % NUM_RECORDS)


def test_the_pieces_of_a_group_are_what_is_read_for_it(stored):
  paths, entries = stored
  order = RecordOrder(paths, COUNTS, entries, batch_size=8, seed=3)
  read = []
  for piece in order.pieces(2):
    offsets = list(record_index.walk_records(piece.path))
    assert offsets[piece.record] == piece.offset
    first = sum(COUNTS[:paths.index(piece.path)]) + piece.record + piece.skip
    read += range(first, first + piece.take)
  steps = order.group_steps
  assert sorted(read) == sorted(whole(stored, 8, steps, 2 * steps).ravel())


def bytes_read_by_this_process():
  with open('/proc/self/io', encoding='ascii') as file:
    return int(file.readline().split()[1])  # rchar: of every read(2) and its like.


@pytest.mark.skipif(not os.path.exists('/proc/self/io'),
                    reason='counts bytes with /proc/self/io')
def test_resuming_late_and_sharing_work_read_a_bounded_number_of_bytes(tmp_path):
  counts, size_bytes = (40_000, 40_000), 700
  paths, entries = write_records(tmp_path, counts, size_bytes)
  order = RecordOrder(paths, counts, entries, batch_size=64, seed=0)

  def bytes_for(rows, start_step, num_steps):
    before = bytes_read_by_this_process()
    assert len(numbers(order, rows, num_steps, start_step)) == num_steps
    return bytes_read_by_this_process() - before

  group_bytes = order.group_steps * 64 * (size_bytes + 16)
  # The group that holds the step, and those that are read ahead; the epoch has
  # 57 MB.
  assert bytes_for(Rows(64, 0, 64), 1240, 1) < 8 * group_bytes < 25e6
  # One of eight workers, over half an epoch: its share, what its reads begin
  # and end with, and what is read ahead.
  assert bytes_for(Rows(64, 8, 8), 0, 640) < 57e6 / 2 / 8 * 1.6


def test_a_record_cut_short_is_named(tmp_path):
  (path,), _ = write_records(tmp_path, (10,), 100)
  with open(path, 'r+b') as file:
    file.truncate(3 * 116 + 50)
  with pytest.raises(OSError) as error:
    list(record_index.walk_records(path))
  assert str(error.value) == (
      f'{path}: record 3 at byte 348 is cut short, the file ends at byte 398; '
      'copy the file again, or prepare the data again')


@pytest.mark.parametrize('byte, record', [(0, 0), (5, 0), (60, 0), (240, 2),
                                          (232, 2), (1159, 9)])
def test_a_flipped_bit_is_named(tmp_path, byte, record):
  (path,), _ = write_records(tmp_path, (10,), 100)
  flip_bit(path, byte)
  with pytest.raises(
      OSError, match=f'{path}: record {record} at byte {record * 116} is '):
    list(record_index.walk_records(path))


def flip_bit(path, byte):
  with open(path, 'r+b') as file:
    file.seek(byte)
    value = file.read(1)[0]
    file.seek(byte)
    file.write(bytes([value ^ 4]))


def test_a_file_of_something_else_is_named(tmp_path):
  path = tmp_path / 'a.tfrecord'
  path.write_text('This is a poem, and no records are in it.\n' * 9)
  with pytest.raises(OSError, match='the file is no TFRecord file'):
    list(record_index.walk_records(str(path)))


def test_an_index_is_plain_numpy():
  data = record_index.index_bytes(np.array([0, 7, 1 << 40]))
  np.testing.assert_array_equal(
      np.load(io.BytesIO(data), allow_pickle=False), [0, 7, 1 << 40])
