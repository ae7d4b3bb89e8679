"""Where records lie within TFRecord files, so that reading can begin anywhere.

A TFRecord file has no table of its records: without one, finding the last
record means reading all. `prepare` writes down the byte offset of every
`INTERVAL_RECORDS`-th record of every shard, and of its end; for a data set without that file
the offsets are found by walking the shards once.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from official_ext.data import partial_tensorflow
from official_ext.data.manifest import INDEX_FILE
from official_ext.data.manifest import Manifest
from official_ext.data.manifest import RecordIndex
from official_ext.data.manifest import Shard
from official_ext.data.stored_file import file_size
from official_ext.data.stored_file import read_bytes

INTERVAL_RECORDS = 64
# What TFRecord puts around a record: length and checksum before, checksum after.
FRAME_BYTES = 16


class DamagedRecordError(OSError):
  """A record that cannot be read; the message names file, record and byte."""


def num_entries(num_records: int) -> int:
  """Entries of a shard."""
  return -(-num_records // INTERVAL_RECORDS) + 1


def index_bytes(entries: np.ndarray) -> bytes:
  """What the index file holds; `entries` int64 [entries] of all shards."""
  file = io.BytesIO()
  np.save(file, entries.astype('<i8'), allow_pickle=False)
  return file.getvalue()


def describe_index(content: bytes) -> RecordIndex:
  """What the manifest says of an index file."""
  return RecordIndex(
      INDEX_FILE, len(content), hashlib.sha256(content).hexdigest(),
      INTERVAL_RECORDS)


def walk_records(path: str, start_offset: int = 0, first_record: int = 0
                 ) -> Iterator[int]:
  """Yields the byte offset of each record of a file, having read it.

  Args:
    path: a TFRecord file, local or remote.
    start_offset: byte offset of a record to begin with.
    first_record: number of that record, for messages.

  Raises:
    DamagedRecordError: if a record is cut short or its checksum is wrong; the
      offsets before it have been yielded.
  """
  size = file_size(path)
  reader = partial_tensorflow.record_reader(path)
  offset, record = start_offset, first_record
  while offset < size:
    try:
      _, end = reader.read(offset)
    except IndexError:  # What is left is shorter than a record's frame.
      end = size + 1
    except partial_tensorflow.data_loss_error() as error:
      if 'truncated' not in str(error):
        # TensorFlow names the byte of the part whose checksum is wrong.
        is_frame = re.search(rf' at {offset}\b', str(error))
        what = ('the file is no TFRecord file' if is_frame and not offset
                else 'its checksum is wrong')
        raise DamagedRecordError(
            f'{path}: record {record} at byte {offset} is damaged ({what}); '
            'copy the file again, or prepare the data again') from error
      end = size + 1
    if end > size:
      raise DamagedRecordError(
          f'{path}: record {record} at byte {offset} is cut short, the file '
          f'ends at byte {size}; copy the file again, or prepare the data again')
    yield offset
    offset, record = end, record + 1


def read_offsets(data_dir: str, manifest: Manifest, split: str) -> np.ndarray:
  """The entries of one split's shards, int64 [entries].

  Read from the index file; without one, found by walking the shards.

  Args:
    data_dir: the data directory.
    manifest: its manifest.
    split: 'train' or 'eval'.

  Raises:
    ValueError: if the index file is not that of the manifest.
    OSError: if a file cannot be read.
  """
  index = manifest.index
  if index is None or index.interval_records != INTERVAL_RECORDS:
    return np.concatenate([np.zeros(0, np.int64)] + [
        _walk_shard(data_dir, shard) for shard in manifest.splits[split].shards])
  path = os.path.join(data_dir, index.file)
  first = 0
  for name, other in manifest.splits.items():
    count = sum(num_entries(shard.examples) for shard in other.shards)
    if name == split:
      break
    first += count
  try:
    offsets = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
  except ValueError as error:
    raise ValueError(
        f'{path}: not an index of records ({error}); copy it again, or prepare '
        'the data again') from error
  return offsets[first:first + count].astype(np.int64)


def _walk_shard(data_dir: str, shard: Shard) -> np.ndarray:
  path = os.path.join(data_dir, shard.file)
  offsets = [*walk_records(path), file_size(path)]
  if len(offsets) - 1 != shard.examples:
    raise ValueError(
        f'{path} holds {len(offsets) - 1} records, but its manifest says '
        f'{shard.examples}; copy it again, or prepare the data again')
  return np.array([*offsets[:-1:INTERVAL_RECORDS], offsets[-1]], np.int64)
