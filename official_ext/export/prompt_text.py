"""Strings to a GPT's prompts, and pieces back to strings, inside the graph."""

from typing import NamedTuple

import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer


class Prompts(NamedTuple):
  """A batch of strings as the beginnings of sequences; everything int32.

  Attributes:
    word_ids: [batch, length], padded on the right.
    mask: [batch, length], 1 where there is a token.
    num_tokens: [batch], [CLS] included.
    num_tokens_left_out: [batch], tokens at the start of a long string for which
      there was no room.
  """

  word_ids: tf.Tensor
  mask: tf.Tensor
  num_tokens: tf.Tensor
  num_tokens_left_out: tf.Tensor


def encode_prompts(texts: tf.Tensor, tokenizer: Tokenizer, *, length: int,
                   most_tokens: int | tf.Tensor) -> Prompts:
  """Encodes [CLS] text, the end of it where it is too long.

  Args:
    texts: string [batch].
    tokenizer: the one that made the training data.
    length: tokens a padded row.
    most_tokens: tokens of a row that may be used, at least 1 and at most
      `length`; what follows is room for new ones.
  """
  tokens = tokenizer(texts)  # [batch, (tokens)]
  lengths = tf.cast(tokens.row_lengths(), tf.int32)
  left_out = tf.maximum(0, lengths + 1 - most_tokens)
  is_kept = tf.ragged.range(lengths) >= left_out[:, tf.newaxis]
  tokens = tf.ragged.boolean_mask(tokens, is_kept)
  starts = tf.fill([tf.size(texts), 1], tokenizer.cls_id)
  tokens = tf.concat([starts, tokens], axis=1)
  shape = [None, length]
  return Prompts(
      word_ids=tokens.to_tensor(tokenizer.pad_id, shape=shape),
      mask=tf.ones_like(tokens).to_tensor(0, shape=shape),
      num_tokens=lengths + 1 - left_out, num_tokens_left_out=left_out)


def join_pieces(pieces: tf.RaggedTensor) -> tf.Tensor:
  """The text of new pieces, to be put right behind the text before them.

  Words are set apart by one space; "##s" goes on with the word before it, and
  punctuation stands where English puts it. What the tokenizer lost, such as
  capitals and line breaks, stays lost.

  Args:
    pieces: string [batch, (pieces)] of the vocabulary.

  Returns:
    string [batch], with a space in front unless a word goes on or punctuation
    follows; '' where there are no pieces.
  """
  text = tf.strings.reduce_join(tf.strings.join([' ', pieces]), axis=1)
  for pattern, rewrite in ((r' ##', ''), (r' ([.,;:!?)\]}])', r'\1'),
                           (r'([(\[{]) ', r'\1')):
    text = tf.strings.regex_replace(text, pattern, rewrite)
  return text
