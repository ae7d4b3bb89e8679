"""Batches in an order that is a pure function of (seed, step).

Model Garden's loader decodes the records; what it lacks is a position. Here
record `r` of the run is the same record whatever was read before, so a resumed
run opens the right file at the right place instead of replaying what it read.
"""

from collections.abc import Sequence
import dataclasses
import os

import numpy as np
from official.nlp.data import pretrain_dataloader
import tensorflow as tf

from official_ext.data.manifest import Manifest

# Records that are shuffled together within a shard. `prepare` has shuffled
# across shards already; this makes every epoch differ.
_SHUFFLE_BLOCK = 2048
# Shards are reordered by an epoch's seed, blocks by (epoch, shard, block).
_SHARD_ORDER, _BLOCK_ORDER = 0, 1


@dataclasses.dataclass(frozen=True)
class BatchSlice:
  """The part of each global batch that one input pipeline feeds.

  Attributes:
    global_batch_size: sequences a step, over all replicas.
    num_pipelines: input pipelines (workers).
    pipeline: index of this pipeline.
    num_replicas: replicas over all pipelines.
  """

  global_batch_size: int
  num_pipelines: int = 1
  pipeline: int = 0
  num_replicas: int = 1

  @property
  def rows_per_pipeline(self) -> int:
    return self.global_batch_size // self.num_pipelines

  @property
  def rows_per_replica(self) -> int:
    return self.global_batch_size // self.num_replicas


class PretrainLoader(pretrain_dataloader.BertPretrainDataLoader):
  """Reads a data directory that `prepare` wrote.

  Args:
    data_dir: the data directory.
    manifest: its manifest.
    use_next_sentence: whether batches carry `next_sentence_labels`; causal
      ones never do.
  """

  def __init__(self, data_dir: str, manifest: Manifest, *,
               use_next_sentence: bool = True):
    super().__init__(
        pretrain_dataloader.BertPretrainDataConfig(
            seq_length=manifest.seq_length,
            max_predictions_per_seq=manifest.max_predictions_per_seq,
            use_next_sentence_label=use_next_sentence,
            use_v2_feature_names=True))
    self._data_dir = data_dir
    self._manifest = manifest

  def training_batches(self, rows: BatchSlice, *, seed: int,
                       start_step: int = 0) -> tf.data.Dataset:
    """Endless batches, one a replica and step, beginning at `start_step`.

    Args:
      rows: which part of each global batch to yield.
      seed: fixes the order of the records in every epoch.
      start_step: the step whose batch comes first.

    Returns:
      A dataset of feature dictionaries `[rows_per_replica, ...]`, int32 and
      float32, under Model Garden's names; for causal language modelling
      `input_word_ids` and `input_mask` `[rows_per_replica, seq_length]`.
    """
    paths, counts = self._shards('train')
    first_record = start_step * rows.global_batch_size
    records = _endless_records(paths, counts, seed, first_record)
    return self._batches(records, rows)

  def evaluation_batches(self, rows: BatchSlice, num_steps: int
                         ) -> tf.data.Dataset:
    """The first `num_steps` batches of the held-out split, repeated if short."""
    paths, _ = self._shards('eval')
    records = tf.data.TFRecordDataset(paths).repeat()
    records = records.take(num_steps * rows.global_batch_size)
    return self._batches(records, rows)

  def _shards(self, split: str) -> tuple[list[str], list[int]]:
    shards = self._manifest.splits[split].shards
    return ([os.path.join(self._data_dir, shard.file) for shard in shards],
            [shard.examples for shard in shards])

  def _batches(self, records: tf.data.Dataset, rows: BatchSlice
               ) -> tf.data.Dataset:
    if rows.num_pipelines > 1:
      start = rows.pipeline * rows.rows_per_pipeline
      stop = start + rows.rows_per_pipeline
      records = records.batch(rows.global_batch_size, drop_remainder=True)
      records = records.map(lambda batch: batch[start:stop]).unbatch()
    batches = records.batch(rows.rows_per_replica, drop_remainder=True)
    return batches.map(
        self._decode_batch, num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True).prefetch(tf.data.AUTOTUNE)

  def _name_to_features(self):
    if not self._manifest.is_causal:
      return super()._name_to_features()
    return {
        name: tf.io.FixedLenFeature([self._manifest.seq_length], tf.int64)
        for name in ('input_word_ids', 'input_mask')}

  def _decode_batch(self, records: tf.Tensor) -> dict[str, tf.Tensor]:
    # The stock loader decodes record by record; one op takes the whole batch.
    features = tf.io.parse_example(records, self._name_to_features())
    # TPUs have no int64.
    features = {
        name: tf.cast(value, tf.int32) if value.dtype == tf.int64 else value
        for name, value in features.items()}
    return features if self._manifest.is_causal else self._parse(features)


def _endless_records(paths: Sequence[str], counts: Sequence[int], seed: int,
                     first_record: int) -> tf.data.Dataset:
  """Serialised records from `first_record` on, epoch after epoch."""
  paths = tf.constant(list(paths))
  counts = tf.constant(np.asarray(counts, np.int64))
  epoch_size = int(tf.reduce_sum(counts))
  first_epoch, offset = divmod(first_record, epoch_size)

  def epoch_records(epoch):
    order = _shuffled(tf.range(tf.size(counts)),
                      _folded(seed, _SHARD_ORDER, epoch))
    ends = tf.cumsum(tf.gather(counts, order))
    to_skip = tf.where(epoch == first_epoch, np.int64(offset), np.int64(0))
    # The first shard that still has a record to give, and how far into it.
    first_shard = tf.searchsorted(ends, [to_skip], side='right')[0]
    within = to_skip - tf.where(
        first_shard > 0, tf.gather(ends, tf.maximum(first_shard - 1, 0)), 0)
    visits = tf.data.Dataset.range(
        tf.cast(first_shard, tf.int64), tf.size(counts, tf.int64))

    def shard_records(visit):
      shard = order[visit]
      skip = tf.where(visit == tf.cast(first_shard, tf.int64), within, 0)
      return _shard_records(
          paths[shard], _folded(seed, _BLOCK_ORDER, epoch, shard), skip)

    return visits.flat_map(shard_records)

  epochs = tf.data.Dataset.counter(first_epoch)
  return epochs.flat_map(epoch_records)


def _shard_records(path, seed, skip) -> tf.data.Dataset:
  """One shard's records, shuffled in blocks, without the first `skip`."""
  first_block = skip // _SHUFFLE_BLOCK
  # Skipping raw records reads them but decodes nothing.
  blocks = tf.data.TFRecordDataset(path).skip(
      first_block * _SHUFFLE_BLOCK).batch(_SHUFFLE_BLOCK)
  blocks = blocks.enumerate(first_block)
  blocks = blocks.map(
      lambda block, records: _shuffled(records, _folded_into(seed, block)))
  return blocks.unbatch().skip(skip % _SHUFFLE_BLOCK)


def _shuffled(values, seed):
  return tf.random.experimental.stateless_shuffle(values, seed)


def _folded(seed: int, *parts):
  folded = tf.constant([seed & 0x7fffffff, 0x5eed], tf.int32)
  for part in parts:
    folded = _folded_into(folded, part)
  return folded


def _folded_into(seed, part):
  return tf.random.experimental.stateless_fold_in(seed, tf.cast(part, tf.int32))
