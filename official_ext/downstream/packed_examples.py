"""Tokenised examples in memory, and their batches of one static shape."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses

import numpy as np
import tensorflow as tf

from official_ext.data.loader import BatchSlice

# Sequences are padded to a multiple of so many tokens.
_LENGTH_STEP = 8
ROW = 'row'


@dataclasses.dataclass(frozen=True)
class PackedExamples:
  """Examples without their padding.

  Attributes:
    words: word ids of all examples, one after the other, int32 `[tokens]`.
    types: type ids, int32 `[tokens]`.
    row_splits: example i is `words[row_splits[i]:row_splits[i + 1]]`, int64
      `[examples + 1]`.
    labels: name to an array `[examples]`; empty where there are none.
  """

  words: np.ndarray
  types: np.ndarray
  row_splits: np.ndarray
  labels: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  @property
  def num_examples(self) -> int:
    return len(self.row_splits) - 1

  @property
  def longest(self) -> int:
    """Tokens of the longest example."""
    return int(np.diff(self.row_splits).max(initial=0))


def static_length(examples: Sequence[PackedExamples], seq_length: int) -> int:
  """The shortest length that all examples fit in, in steps of eight tokens.

  Padding changes no result, so a batch is no longer than the data need.
  """
  longest = max(each.longest for each in examples)
  return min(seq_length, -(-longest // _LENGTH_STEP) * _LENGTH_STEP)


def training_batches(examples: PackedExamples, rows: BatchSlice, *, length: int,
                     seed: int, start_step: int, num_steps: int
                     ) -> tf.data.Dataset:
  """The batches of a pipeline, in an order that (seed, step) determines.

  Epoch follows epoch without a gap, each in an order of its own.

  Args:
    examples: what to learn from.
    rows: which part of each global batch to yield, one a replica and step.
    length: tokens a row.
    seed: of the orders.
    start_step: the step whose batch comes first.
    num_steps: steps of the whole trial.

  Returns:
    Dicts of the encoder's inputs `[rows_per_replica, length]`, the labels
    `[rows_per_replica]`, and `row`, which example each is.
  """
  count = examples.num_examples
  first, end = (
      step * rows.global_batch_size for step in (start_step, num_steps))
  first_epoch = first // count
  order = np.concatenate(
      [np.random.default_rng([seed, epoch]).permutation(count)
       for epoch in range(first_epoch, -(-end // count))] or [[]])
  return _batches(examples, order[first - first_epoch * count:
                                  end - first_epoch * count], rows, length)


def evaluation_batches(examples: PackedExamples, rows: BatchSlice, *,
                       length: int) -> tf.data.Dataset:
  """All examples once, in their order; the last one fills up the last batch.

  Args:
    examples: what to predict.
    rows: as for `training_batches`.
    length: tokens a row.
  """
  num_steps = -(-examples.num_examples // rows.global_batch_size)
  order = np.arange(num_steps * rows.global_batch_size)
  return _batches(
      examples, np.minimum(order, examples.num_examples - 1), rows, length)


def _batches(examples: PackedExamples, order: np.ndarray, rows: BatchSlice,
             length: int) -> tf.data.Dataset:
  """Batches of the examples in an order that fills whole global batches."""
  order = order.astype(np.int32).reshape([-1, rows.global_batch_size])
  start = rows.pipeline * rows.rows_per_pipeline
  order = order[:, start:start + rows.rows_per_pipeline]
  words, types = tf.constant(examples.words), tf.constant(examples.types)
  splits = tf.constant(examples.row_splits)
  labels = {name: tf.constant(values)
            for name, values in examples.labels.items()}

  def features(chosen):
    chosen.set_shape([rows.rows_per_replica])
    starts = tf.gather(splits, chosen)
    sizes = tf.gather(splits, chosen + 1) - starts
    positions = tf.range(length, dtype=tf.int64)
    is_token = positions < sizes[:, tf.newaxis]
    places = tf.where(is_token, starts[:, tf.newaxis] + positions, 0)
    return {
        'input_word_ids': tf.where(is_token, tf.gather(words, places), 0),
        'input_mask': tf.cast(is_token, tf.int32),
        'input_type_ids': tf.where(is_token, tf.gather(types, places), 0),
        ROW: chosen,
        **{name: tf.gather(values, chosen) for name, values in labels.items()}}

  dataset = tf.data.Dataset.from_tensor_slices(
      order.reshape([-1, rows.rows_per_replica]))
  return dataset.map(
      features, num_parallel_calls=tf.data.AUTOTUNE,
      deterministic=True).prefetch(tf.data.AUTOTUNE)


def distributed(strategy: tf.distribute.Strategy, batch_size: int,
                make_batches: Callable[[BatchSlice], tf.data.Dataset]
                ) -> Iterable[Mapping[str, tf.Tensor]]:
  """Batches for every replica of a strategy.

  Args:
    strategy: the devices.
    batch_size: examples a step, over all replicas.
    make_batches: one of the functions above, but for `rows`.
  """

  def dataset_fn(context: tf.distribute.InputContext):
    return make_batches(BatchSlice(
        batch_size, num_pipelines=context.num_input_pipelines,
        pipeline=context.input_pipeline_id,
        num_replicas=context.num_replicas_in_sync))

  return strategy.distribute_datasets_from_function(dataset_fn)
