"""Strings to the model's inputs, inside the graph."""

from typing import NamedTuple

import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer


class EncodedText(NamedTuple):
  """A batch of strings, ready for the model; everything int32.

  Attributes:
    word_ids: [batch, length], padded.
    mask: [batch, length], 1 where there is a token.
    type_ids: [batch, length], all 0: a string is one segment.
    mask_positions: [batch, max_masks], where "[MASK]" stands; 0 where there
      are fewer.
    num_masks: [batch], how many of them count.
    num_masks_left_out: [batch], those beyond `max_masks` or cut off with the
      end of a long string.
  """

  word_ids: tf.Tensor
  mask: tf.Tensor
  type_ids: tf.Tensor
  mask_positions: tf.Tensor
  num_masks: tf.Tensor
  num_masks_left_out: tf.Tensor


def encode(texts: tf.Tensor, tokenizer: Tokenizer, *, length: int,
           max_masks: int) -> EncodedText:
  """Encodes [CLS] text [SEP], cut and padded to one length.

  Args:
    texts: string [batch].
    tokenizer: the one that made the training data.
    length: tokens a row.
    max_masks: positions a row.

  Returns:
    What the model takes.
  """
  tokens = tokenizer.tokenize_with_masks(texts)  # [batch, (tokens)]
  masks_in_text = _count(tf.equal(tokens, tokenizer.mask_id))
  tokens = tokens[:, :length - 2]
  edge = tf.ones_like(texts, tf.int32)[:, tf.newaxis]
  tokens = tf.concat(
      [edge * tokenizer.cls_id, tokens, edge * tokenizer.sep_id], axis=1)
  shape = [None, length]
  mask = tf.ones_like(tokens).to_tensor(0, shape=shape)
  word_ids = tokens.to_tensor(tokenizer.pad_id, shape=shape)
  positions = tf.zeros_like(word_ids) + tf.range(length)
  found = tf.ragged.boolean_mask(
      positions, tf.equal(word_ids, tokenizer.mask_id))[:, :max_masks]
  num_masks = tf.cast(found.row_lengths(), tf.int32)
  return EncodedText(
      word_ids=word_ids, mask=mask, type_ids=tf.zeros_like(word_ids),
      mask_positions=found.to_tensor(0, shape=[None, max_masks]),
      num_masks=num_masks, num_masks_left_out=masks_in_text - num_masks)


def _count(flags: tf.RaggedTensor) -> tf.Tensor:
  return tf.reduce_sum(tf.cast(flags, tf.int32), axis=1)
