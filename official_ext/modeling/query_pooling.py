"""Pooled queries: a shorter sequence out of layer 0, without any weights.

CompoundGrow (section 3.1, "embedding pooling") lets the first block attend from
fewer queries than there are tokens: runs of consecutive unmasked tokens share
one query, the mean of their embeddings, while [CLS] and every masked token keep
a query of their own. Keys and values stay whole.

The authors' released code removes the masked tokens before it pools, and so
does this one: the unmasked, valid tokens are counted from left to right and
every `pool_size` of them share a slot, so a masked token between two others
wastes no slot and all shapes are static:

    rank(s) = number of poolable tokens before s
    slot(s) = floor(rank(s) / pool_size)

Rows of the short sequence: [CLS], the slots, one row per prediction. If there
are many rows, a few slots that are always empty round them up to whole tiles of
a TPU; no row attends to them.

Two differences from the released code. It also pools padding, which here belongs
to no slot. And it keeps `sequence` places for the unmasked tokens beside the
masked ones: with 512 tokens and 76 predictions it has 333 rows where this layout
has 296, and layer 0 has 588 keys instead of 512.
"""

from typing import NamedTuple

import tensorflow as tf

from official_ext.growth import pooled_length

POOL_TYPES = ('mean', 'max')


class PooledQueries(NamedTuple):
  """The queries of layer 0.

  Attributes:
    queries: `[batch, 1 + slots + predictions, hidden]`, dtype of the
      embeddings.
    mask: `[batch, 1 + slots + predictions]` int32, 1 where a row stands for at
      least one token. Empty slots and padding predictions are 0: later layers
      must not attend to them.
    overflow_tokens: `[batch]` int32, unmasked tokens for which there was no
      slot. They are still keys and values of layer 0.
  """
  queries: tf.Tensor
  mask: tf.Tensor
  overflow_tokens: tf.Tensor


def pool_queries(
    embeddings: tf.Tensor,
    input_mask: tf.Tensor,
    masked_lm_positions: tf.Tensor | None,
    pool_size: int,
    pool_type: str = 'mean',
) -> PooledQueries:
  """Pools consecutive unmasked tokens into query slots.

  Args:
    embeddings: `[batch, sequence, hidden]` floats.
    input_mask: `[batch, sequence]` integers, 0 for padding.
    masked_lm_positions: `[batch, predictions]` integers; padding predictions
      point at position 0, which is [CLS]. None means that nothing is masked.
    pool_size: tokens a slot.
    pool_type: 'mean' or 'max' over the tokens of a slot.

  Returns:
    `PooledQueries` with `ceil((sequence - 1 - predictions) / pool_size)` slots,
    or up to 7 more: see `growth/pooled_length.py`.
  """
  batch, sequence = _size(embeddings, 0), _size(embeddings, 1)
  valid = tf.not_equal(input_mask, 0)  # [batch, sequence]
  if masked_lm_positions is None:
    predictions = 0
    is_single = tf.equal(tf.range(sequence), 0)[tf.newaxis, :]
  else:
    predictions = _size(masked_lm_positions, 1)
    positions = tf.cast(masked_lm_positions, tf.int32)
    # Padding predictions point at [CLS], which is single anyway.
    is_masked = tf.reduce_any(
        tf.equal(positions[:, :, tf.newaxis], tf.range(sequence)), axis=1)
    is_single = is_masked | tf.equal(tf.range(sequence), 0)
  num_slots = _num_slots(sequence, predictions, pool_size)

  poolable = valid & ~is_single
  rank = tf.cumsum(tf.cast(poolable, tf.int32), axis=1, exclusive=True)
  slot = rank // pool_size  # [batch, sequence]
  has_slot = poolable & (slot < num_slots)
  overflow_tokens = tf.reduce_sum(
      tf.cast(poolable & ~has_slot, tf.int32), axis=1)
  slot = tf.where(has_slot, slot, -1)

  # [batch, slots, sequence]: 1 where the token belongs to the slot.
  members = tf.equal(slot[:, tf.newaxis, :],
                     tf.range(num_slots)[tf.newaxis, :, tf.newaxis])
  size = tf.reduce_sum(tf.cast(members, tf.int32), axis=2)  # [batch, slots]
  if pool_type == 'mean':
    # One matmul: exact zeros leave the sum untouched, and unlike a segment sum
    # it is fast on every kind of device.
    total = tf.matmul(tf.cast(members, embeddings.dtype), embeddings)
    divisor = tf.cast(tf.maximum(size, 1), embeddings.dtype)
    pooled = total / divisor[:, :, tf.newaxis]
  else:
    pooled = _slot_max(embeddings, slot, size, batch, num_slots)

  rows = [embeddings[:, :1], pooled]
  masks = [tf.cast(valid[:, :1], tf.int32), tf.cast(size > 0, tf.int32)]
  if masked_lm_positions is not None:
    rows.append(tf.gather(embeddings, positions, batch_dims=1))
    is_prediction = (positions > 0) & tf.gather(valid, positions, batch_dims=1)
    masks.append(tf.cast(is_prediction, tf.int32))
  return PooledQueries(
      tf.concat(rows, axis=1), tf.concat(masks, axis=1), overflow_tokens)


def _slot_max(embeddings, slot, size, batch, num_slots):
  """Greatest value over each slot's tokens; empty slots are zero."""
  offsets = tf.range(batch)[:, tf.newaxis] * num_slots
  # Negative segments are dropped.
  segments = tf.where(slot >= 0, slot + offsets, -1)
  flat = tf.math.unsorted_segment_max(embeddings, segments, batch * num_slots)
  pooled = tf.reshape(flat, [batch, num_slots, embeddings.shape[-1]])
  return tf.where(size[:, :, tf.newaxis] > 0, pooled, tf.zeros_like(pooled))


def _size(tensor: tf.Tensor, axis: int) -> int | tf.Tensor:
  """The static size, or the dynamic one while Keras builds symbolically."""
  static = tensor.shape[axis]
  return tf.shape(tensor)[axis] if static is None else static


def _num_slots(sequence: int | tf.Tensor, predictions: int | tf.Tensor,
               pool_size: int) -> int | tf.Tensor:
  """`pooled_length.pooled_slots`, also of dynamic sizes."""
  if isinstance(sequence, int) and isinstance(predictions, int):
    return pooled_length.pooled_slots(sequence, predictions, pool_size)
  needed = tf.maximum(0, -(-(sequence - 1 - predictions) // pool_size))
  rows = 1 + needed + predictions
  return needed + tf.where(
      rows >= pooled_length.WHOLE_TILES_FROM, -rows % pooled_length.TILE_ROWS, 0)
