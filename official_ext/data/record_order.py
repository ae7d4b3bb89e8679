"""Which record is read when: a pure function of (seed, step, row of the batch).

An epoch takes blocks of consecutive records, from all shards, in random order.
The run is cut into groups of steps; within a group, one row of the batches
takes its records from one run of consecutive reads, in random order. So

  * the order does not know how many workers there are: they divide the rows of
    each batch, and a worker's rows are consecutive reads, which it alone makes;
  * any step can be begun with by reading the worker's share of its group;
  * every epoch holds every record once.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
import tensorflow as tf

from official_ext.data.record_index import INTERVAL_RECORDS
from official_ext.data.record_index import num_entries

# Records of a group, about; and steps at least, or rows would hardly be mixed.
GROUP_RECORDS = 4096
_MIN_GROUP_STEPS = 8
# Blocks of an epoch, about: many enough to mix, long enough to read in one go.
_BLOCKS = 2048
_MAX_BLOCK_RECORDS = 4096
# A piece is read in one request, unless it is longer than this.
_MAX_READ_BYTES = 8 << 20
# What a random choice is for.
_BLOCK_ORDER, _ROW_ORDER = 0, 1


@dataclasses.dataclass(frozen=True)
class Rows:
  """The rows of each global batch that one pipeline reads.

  Attributes:
    batch_size: rows of the global batch.
    first: the pipeline's first row.
    count: how many rows it reads.
  """

  batch_size: int
  first: int
  count: int


@dataclasses.dataclass(frozen=True)
class Piece:
  """Consecutive records of one file.

  Attributes:
    path: the file.
    offset: byte offset of an indexed record.
    record: the number of that record in the file.
    skip: records from there on that are not wanted.
    take: records behind those that are.
  """

  path: str
  offset: int
  record: int
  skip: int
  take: int


class RecordOrder:
  """The records of some shards, in an endless order.

  Args:
    paths: of the TFRecord files.
    counts: records of each.
    offsets: int64 [entries], of `record_index.read_offsets`.
    batch_size: records a step.
    seed: of the order; None means the order of the files.
  """

  def __init__(self, paths: Sequence[str], counts: Sequence[int],
               offsets: np.ndarray, *, batch_size: int, seed: int | None):
    self._paths = list(paths)
    self._seed = seed
    self._batch_size = batch_size
    self._epoch_records = int(sum(counts))
    # Of a small data set, no more at once than an epoch.
    group_records = min(GROUP_RECORDS, self._epoch_records)
    self.group_steps = 1 if seed is None else max(
        _MIN_GROUP_STEPS, group_records // batch_size)
    self._offsets = offsets
    self._block_records = INTERVAL_RECORDS * min(
        max(1, self._epoch_records // (_BLOCKS * INTERVAL_RECORDS)),
        _MAX_BLOCK_RECORDS // INTERVAL_RECORDS)
    self._first_entry = np.cumsum([0] + [num_entries(n) for n in counts])
    self._block_shard, self._block_entry, self._block_size = _blocks(
        counts, self._first_entry, self._block_records)

  def records(self, rows: Rows, start_step: int) -> tf.data.Dataset:
    """Serialised records, string [rows.count], one element a step.

    Args:
      rows: which rows of each batch.
      start_step: the step of the run that comes first.
    """
    first_group, steps_into_group = divmod(start_step, self.group_steps)
    groups = tf.data.Dataset.counter(first_group)
    reads = groups.flat_map(lambda group: self._group_records(group, rows))
    reads = reads.batch(self.group_steps * rows.count, drop_remainder=True)
    reads = reads.enumerate(first_group)
    # The next group is read while this one is being used.
    steps = reads.map(lambda group, records: self._arrange(
        group, records, rows)).prefetch(1)
    return steps.unbatch().skip(steps_into_group)

  def pieces(self, group: int) -> list[Piece]:
    """What all workers together read for a group."""
    everything = Rows(self._batch_size, 0, self._batch_size)
    found = []
    for epoch in self._epochs_of_group(tf.constant(group, tf.int64)):
      pieces = self._pieces(tf.constant(group, tf.int64), epoch, everything)
      for shard, entry, _, skip, take in zip(*(p.numpy() for p in pieces)):
        record = INTERVAL_RECORDS * (entry - self._first_entry[shard])
        found.append(Piece(self._paths[shard], int(self._offsets[entry]),
                           int(record), int(skip), int(take)))
    return found

  def _group_records(self, group, rows: Rows) -> tf.data.Dataset:
    """The records of a group in the order in which they are read."""
    epochs = tf.data.Dataset.from_tensor_slices(self._epochs_of_group(group))
    pieces = epochs.flat_map(
        lambda epoch: tf.data.Dataset.from_tensor_slices(
            self._pieces(group, epoch, rows)))
    return pieces.flat_map(self._piece_records)

  def _piece_records(self, shard, entry, end, skip, take) -> tf.data.Dataset:
    path = tf.gather(tf.constant(self._paths), shard)
    offset, end = tf.unstack(
        tf.gather(tf.constant(self._offsets), [entry, end]))
    # tf.data.TFRecordDataset does not let on that its op knows offsets.
    records = tf.data.experimental.from_variant(
        tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type='',
            buffer_size=tf.minimum(end - offset, _MAX_READ_BYTES),
            byte_offsets=[offset]),
        tf.TensorSpec([], tf.string))
    return records.skip(skip).take(take)

  def _epochs_of_group(self, group):
    """int64 [epochs]: those that a group has records of."""
    size = self.group_steps * self._batch_size
    return tf.range(group * size // self._epoch_records,
                    ((group + 1) * size - 1) // self._epoch_records + 1)

  def _pieces(self, group, epoch, rows: Rows):
    """What a pipeline reads of an epoch for a group.

    Returns:
      shard, index entry to begin with, index entry to end with, records to
      skip from the first, records to take; each int64 [pieces].
    """
    size = self.group_steps * self._batch_size
    start = tf.maximum(group * size, epoch * self._epoch_records)
    stop = tf.minimum((group + 1) * size, (epoch + 1) * self._epoch_records)
    # The part's reads go row by row; before ours come those of the rows before.
    before = self._up_to_row(stop, rows.first) - self._up_to_row(
        start, rows.first)
    after = self._up_to_row(stop, rows.first + rows.count) - self._up_to_row(
        start, rows.first + rows.count)
    first = start - epoch * self._epoch_records
    return self._cut(epoch, first + before, first + after)

  def _up_to_row(self, position, row: int):
    """How many of the run's first `position` reads are for rows below `row`."""
    return (position // self._batch_size * row
            + tf.minimum(position % self._batch_size, row))

  def _cut(self, epoch, start, stop):
    """The pieces that hold reads [start, stop) of an epoch."""
    order = tf.range(len(self._block_size), dtype=tf.int64)
    if self._seed is not None:
      order = tf.random.experimental.stateless_shuffle(
          order, _folded(self._seed, _BLOCK_ORDER, epoch), alg='philox')
    sizes = tf.gather(tf.constant(self._block_size), order)
    ends = tf.cumsum(sizes)
    touched = tf.range(tf.searchsorted(ends, [start], side='right')[0],
                       tf.searchsorted(ends, [stop], side='left')[0] + 1)
    # Nothing may be wanted of this epoch.
    touched = touched[:tf.where(stop > start, tf.size(touched), 0)]
    blocks, sizes = tf.gather(order, touched), tf.gather(sizes, touched)
    begins = tf.gather(ends, touched) - sizes
    skip = tf.maximum(start - begins, 0)
    take = tf.minimum(stop - begins, sizes) - skip
    entry = tf.gather(tf.constant(self._block_entry), blocks)
    return (tf.gather(tf.constant(self._block_shard), blocks),
            entry + skip // INTERVAL_RECORDS,
            entry - -(skip + take) // INTERVAL_RECORDS,
            skip % INTERVAL_RECORDS, take)

  def _arrange(self, group, records, rows: Rows):
    """Gives each read of a group its place: [steps, rows.count]."""
    steps = tf.range(self.group_steps, dtype=tf.int64)[:, None]
    row = tf.range(rows.first, rows.first + rows.count, dtype=tf.int64)
    position = (group * self.group_steps + steps) * self._batch_size + row
    part = position // self._epoch_records  # [steps, rows.count]
    part = part * self._batch_size + row
    by_chance = tf.range(tf.size(part))
    if self._seed is not None:
      # Drawn for the whole batch, whoever reads it.
      draws = tf.random.stateless_uniform(
          [self.group_steps, self._batch_size],
          _folded(self._seed, _ROW_ORDER, group), dtype=tf.int32, minval=None,
          maxval=None, alg='philox')
      draws = draws[:, rows.first:rows.first + rows.count]
      by_chance = tf.argsort(tf.reshape(draws, [-1]), stable=True)
    places = tf.gather(by_chance, tf.argsort(
        tf.gather(tf.reshape(part, [-1]), by_chance), stable=True))
    arranged = tf.scatter_nd(
        places[:, None], tf.range(tf.size(places)), tf.shape(places))
    return tf.reshape(
        tf.gather(records, arranged), [self.group_steps, rows.count])


def _blocks(counts: Sequence[int], first_entry: np.ndarray,
            block_records: int):
  """Shard, first index entry and size of every block, each int64 [blocks]."""
  shards, entries, sizes = [], [], []
  for shard, count in enumerate(counts):
    starts = np.arange(0, count, block_records)
    shards.append(np.full(len(starts), shard))
    entries.append(first_entry[shard] + starts // INTERVAL_RECORDS)
    sizes.append(np.minimum(block_records, count - starts))
  return tuple(np.concatenate(parts).astype(np.int64)
               for parts in (shards, entries, sizes))


def _folded(seed: int, *parts):
  folded = tf.constant([seed & 0x7fffffff, 0x5eed], tf.int32)
  for part in parts:
    folded = tf.random.experimental.stateless_fold_in(
        folded, tf.cast(part, tf.int32))
  return folded
