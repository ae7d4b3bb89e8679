"""Rows spilled to disk by many processes, shuffled, written as TFRecord shards.

A row's random 64-bit key decides everything: its shard (the key's range) and
its place within the shard (rows are sorted by key). So the files are the same
whichever process made which row. A shard's rows are sorted in pieces that fit
in memory, an external bucket sort.
"""

import glob
import os
from typing import Iterable, Iterator, NamedTuple

import numpy as np

from official_ext.data import partial_tensorflow
from official_ext.data import record_index
from official_ext.data.manifest import Shard
from official_ext.data.records import predicted_ids
from official_ext.data.records import serialize_rows
from official_ext.data.stored_file import file_sha256
from official_ext.data.stored_file import file_size

# Rows sorted in memory at once; sorting takes about three times as much.
SORT_BYTES = 32 << 20
_BUCKETS = 16
# Serialising takes some twenty bytes a token of the rows at hand.
_TOKENS_AT_ONCE = 1 << 19


class WrittenShard(NamedTuple):
  """What is known of a shard once it is written.

  Attributes:
    shard: its entry in the manifest.
    entries: int64 [entries], its part of the index of records.
    label_counts: int64 [ids], how often each id is predicted; ids beyond the
      end are not.
  """

  shard: Shard
  entries: np.ndarray
  label_counts: np.ndarray


def rows_by_shard(rows: np.ndarray, num_shards: int
                  ) -> Iterator[tuple[int, np.ndarray]]:
  """Yields the number of each shard that gets some of the rows, and those."""
  # The key's upper half, scaled to [0, num_shards).
  shard = (rows['key'] >> np.uint64(32)) * np.uint64(num_shards) >> np.uint64(32)
  order = np.argsort(shard, kind='stable')
  bounds = np.searchsorted(shard[order], np.arange(num_shards + 1))
  for number in range(num_shards):
    part = rows[order[bounds[number]:bounds[number + 1]]]
    if len(part):
      yield number, part


def spill_rows(directory: str, split: str, number: int,
               rows: np.ndarray) -> None:
  """Appends rows to their shard's spill file of this process."""
  path = os.path.join(directory, f'{split}-{number:05d}-{os.getpid()}.rows')
  with open(path, 'ab') as file:
    rows.tofile(file)


def write_shard(directory: str, split: str, number: int, num_shards: int,
                dtype: np.dtype, output_path: str,
                sort_bytes: int = SORT_BYTES) -> WrittenShard:
  """Shuffles the spilled rows of one shard and writes them; removes the spill.

  Args:
    directory: where `spill_rows` put them.
    split: 'train' or 'eval'.
    number: of the shard.
    num_shards: as for `spill_rows`.
    dtype: the rows'.
    output_path: the TFRecord file to write.
    sort_bytes: rows sorted in memory at once.
  """
  spills = sorted(glob.glob(os.path.join(
      glob.escape(directory), f'{split}-{number:05d}-*.rows')))
  low = -(-(number << 32) // num_shards) << 32
  high = -(-((number + 1) << 32) // num_shards) << 32
  return write_rows(
      _sorted_pieces(spills, low, high, dtype, sort_bytes), output_path)


def write_rows(parts: Iterable[np.ndarray], path: str) -> WrittenShard:
  """Writes rows, in the order given, as the records of one TFRecord file."""
  examples = offset = 0
  entries = []
  label_counts = np.zeros(0, np.int64)
  with partial_tensorflow.record_writer(path) as writer:
    for rows in parts:
      label_counts = add_counts(
          [label_counts, np.bincount(predicted_ids(rows))])
      step = max(1, _TOKENS_AT_ONCE // rows['ids'].shape[1])
      for start in range(0, len(rows), step):
        for record in serialize_rows(rows[start:start + step]):
          writer.write(record)
          if examples % record_index.INTERVAL_RECORDS == 0:
            entries.append(offset)
          examples += 1
          offset += len(record) + record_index.FRAME_BYTES
  shard = Shard(
      os.path.basename(path), examples, file_size(path), file_sha256(path))
  return WrittenShard(
      shard, np.array([*entries, offset], np.int64), label_counts)


def add_counts(counts: Iterable[np.ndarray]) -> np.ndarray:
  """The sum of vectors that may be of different lengths, int64."""
  counts = list(counts)
  total = np.zeros(max(map(len, counts), default=0), np.int64)
  for each in counts:
    total[:len(each)] += each
  return total


def _sorted_pieces(paths: list[str], low: int, high: int, dtype: np.dtype,
                   sort_bytes: int):
  """Yields the rows of `paths`, whose keys lie in [low, high), sorted."""
  total = sum(os.path.getsize(path) for path in paths)
  if total <= sort_bytes or high - low < _BUCKETS:
    rows = np.concatenate(
        [np.zeros(0, dtype)] + [np.fromfile(path, dtype) for path in paths])
    for path in paths:
      os.remove(path)
    yield rows[np.lexsort((rows['row'], rows['chunk'], rows['key']))]
    return
  width = -(-(high - low) // _BUCKETS)
  parent = paths[0]
  for path in paths:
    with open(path, 'rb') as file:
      while True:
        rows = np.fromfile(
            file, dtype, max(1, min(sort_bytes, 8 << 20) // dtype.itemsize))
        if not len(rows):
          break
        bucket = (rows['key'] - np.uint64(low)) // np.uint64(width)
        for number in np.unique(bucket):
          with open(f'{parent}.{int(number):02d}', 'ab') as part:
            rows[bucket == number].tofile(part)
    os.remove(path)
  for number in range(_BUCKETS):
    part = f'{parent}.{number:02d}'
    if os.path.exists(part):
      yield from _sorted_pieces(
          [part], low + number * width, min(high, low + (number + 1) * width),
          dtype, sort_bytes)
