"""Batches in an order that is a pure function of (seed, step).

Model Garden's loader decodes the records; what it lacks is a position. Here
record `r` of the run is the same record whatever was read before
(`record_order.py`), so a resumed run opens the right file at the right byte
instead of replaying what it read.
"""

import dataclasses
import itertools
import os

from official.nlp.data import pretrain_dataloader
import tensorflow as tf

from official_ext.data.dynamic_masking import DynamicMasking
from official_ext.data.manifest import Manifest
from official_ext.data.manifest import VOCABULARY_FILE
from official_ext.data.masked_share import MaskedShare
from official_ext.data.masking import PieceTable
from official_ext.data.record_index import DamagedRecordError
from official_ext.data.record_index import read_offsets
from official_ext.data.record_index import walk_records
from official_ext.data.record_order import Piece
from official_ext.data.record_order import RecordOrder
from official_ext.data.record_order import Rows
from official_ext.data.vocabulary import read_vocabulary

# The group of a step, and those that may be read before the step is done.
_GROUPS_READ_AHEAD = 3


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
    self._offsets = {}

  def training_batches(self, rows: BatchSlice, *, seed: int,
                       start_step: int = 0,
                       masked_share: MaskedShare | None = None
                       ) -> tf.data.Dataset:
    """Endless batches, one a replica and step, beginning at `start_step`.

    Args:
      rows: which part of each global batch to yield.
      seed: fixes the order of the records in every epoch.
      start_step: the step whose batch comes first.
      masked_share: draws new masks for every step and masks this share of the
        tokens; None keeps the masks that `prepare` drew. Masked-LM data only.

    Returns:
      A dataset of feature dictionaries `[rows_per_replica, ...]`, int32 and
      float32, under Model Garden's names; for causal language modelling
      `input_word_ids` and `input_mask` `[rows_per_replica, seq_length]`.
    """
    order = self._order('train', rows, seed)
    if masked_share is None:
      return self._batches(order, rows, start_step)
    masking = DynamicMasking(
        masked_share,
        PieceTable.from_vocabulary(read_vocabulary(
            os.path.join(self._data_dir, VOCABULARY_FILE))),
        whole_words=bool(self._manifest.settings.get('whole_word_masking')),
        seed=seed)
    return self._batches(order, rows, start_step, masking)

  def evaluation_batches(self, rows: BatchSlice, num_steps: int
                         ) -> tf.data.Dataset:
    """The first `num_steps` batches of the held-out split, repeated if short."""
    batches = self._batches(self._order('eval', rows, None), rows, 0)
    # Each step takes a batch for every replica that this pipeline feeds.
    return batches.take(
        num_steps * (rows.rows_per_pipeline // rows.rows_per_replica))

  def find_damage(self, *, batch_size: int, seed: int, step: int
                  ) -> DamagedRecordError | None:
    """Looks for what made reading fail: TensorFlow's error names no file.

    Args:
      batch_size: sequences of the global batch.
      seed: as for `training_batches`.
      step: the last one that was done; records are read ahead of it.

    Returns:
      The error that names file, record and byte; None if all that is read
      around this step, and the held-out split, can be read.
    """
    order = self._order('train', BatchSlice(batch_size), seed)
    group = step // order.group_steps
    pieces = [piece for ahead in range(_GROUPS_READ_AHEAD)
              for piece in order.pieces(group + ahead)]
    pieces += [Piece(path, 0, 0, 0, count)
               for path, count in self._shards('eval')]
    for piece in pieces:
      try:
        offsets = walk_records(piece.path, piece.offset, piece.record)
        for _ in itertools.islice(offsets, piece.skip + piece.take):
          pass
      except DamagedRecordError as error:
        return error
    return None

  def _shards(self, split: str) -> list[tuple[str, int]]:
    """Path and number of records of each shard."""
    return [(os.path.join(self._data_dir, shard.file), shard.examples)
            for shard in self._manifest.splits[split].shards]

  def _order(self, split: str, rows: BatchSlice, seed: int | None
             ) -> RecordOrder:
    if split not in self._offsets:
      self._offsets[split] = read_offsets(self._data_dir, self._manifest, split)
    paths, counts = zip(*self._shards(split))
    return RecordOrder(
        paths, counts, self._offsets[split],
        batch_size=rows.global_batch_size, seed=seed)

  def _batches(self, order: RecordOrder, rows: BatchSlice, start_step: int,
               masking: DynamicMasking | None = None) -> tf.data.Dataset:
    mine = Rows(rows.global_batch_size,
                first=rows.pipeline * rows.rows_per_pipeline,
                count=rows.rows_per_pipeline)
    batches = order.records(mine, start_step)
    if rows.rows_per_replica != rows.rows_per_pipeline:
      batches = batches.unbatch().batch(
          rows.rows_per_replica, drop_remainder=True)
    if masking is None:
      return batches.map(
          self._decode_batch, num_parallel_calls=tf.data.AUTOTUNE,
          deterministic=True).prefetch(tf.data.AUTOTUNE)
    # Each step has a batch for every replica of this pipeline, one after
    # another.
    num_replicas = rows.rows_per_pipeline // rows.rows_per_replica

    def decode_and_mask(number, records):
      features = {
          name: tf.ensure_shape(value, [rows.rows_per_replica, *value.shape[1:]])
          for name, value in self._decode_batch(records).items()}
      return masking(
          features, start_step + number // num_replicas,
          mine.first + number % num_replicas * rows.rows_per_replica,
          rows.global_batch_size)

    return batches.enumerate().map(
        decode_and_mask, num_parallel_calls=tf.data.AUTOTUNE,
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
