"""Strings to the model's inputs, inside the graph."""

from typing import NamedTuple

import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer


class EncodedText(NamedTuple):
  """A batch of strings, ready for the model; everything int32.

  Attributes:
    words: [batch, (tokens)], special tokens included.
    types: alike, all 0: a string is one segment.
    mask_positions: int64 [batch, (masks)], where "[MASK]" stands.
    num_masks_left_out: [batch], those beyond `max_masks` or cut off with the
      end of a long string.
  """

  words: tf.RaggedTensor
  types: tf.RaggedTensor
  mask_positions: tf.RaggedTensor
  num_masks_left_out: tf.Tensor


def encode(texts: tf.Tensor, tokenizer: Tokenizer, *, length: int,
           max_masks: int) -> EncodedText:
  """Encodes [CLS] text [SEP], cut to a length.

  Args:
    texts: string [batch].
    tokenizer: gives the pieces that the training data were made of.
    length: most tokens of a row.
    max_masks: most positions of a row.

  Returns:
    What the model takes.
  """
  tokens = tokenizer.tokenize_with_masks(texts)  # [batch, (tokens)]
  masks_in_text = _count(tf.equal(tokens, tokenizer.mask_id))
  edge = tf.ones_like(texts, tf.int32)[:, tf.newaxis]
  words = tf.concat(
      [edge * tokenizer.cls_id, tokens[:, :length - 2],
       edge * tokenizer.sep_id], axis=1)
  positions = tf.ragged.boolean_mask(
      tf.ragged.range(words.row_lengths()),
      tf.equal(words, tokenizer.mask_id))[:, :max_masks]
  return EncodedText(
      words=words, types=tf.zeros_like(words), mask_positions=positions,
      num_masks_left_out=masks_in_text - tf.cast(
          positions.row_lengths(), tf.int32))


def _count(flags: tf.RaggedTensor) -> tf.Tensor:
  return tf.reduce_sum(tf.cast(flags, tf.int32), axis=1)
