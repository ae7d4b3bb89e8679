"""From texts to a classifier's inputs, in TensorFlow's core operations.

The same functions make the training data and the signatures of a SavedModel,
so that a served model reads a text as the fine-tuned one did.
"""

import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer


def pack_texts(tokenizer: Tokenizer, texts: tf.Tensor,
               second_texts: tf.Tensor | None, seq_length: int
               ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
  """[CLS] text [SEP], or [CLS] text [SEP] second text [SEP].

  What is too long is shortened as in Model Garden's `classifier_data_lib`: the
  longer text loses its last token until both fit, the second one first if they
  are equally long.

  Args:
    tokenizer: of the model's vocabulary.
    texts: string `[batch]`.
    second_texts: string `[batch]`; None for single sentences.
    seq_length: most tokens of an example, special tokens included.

  Returns:
    Word ids and type ids, int32 `[batch, (tokens)]`: type 1 is the second text
    and the [SEP] after it.
  """
  first = tokenizer(texts)
  second = None if second_texts is None else tokenizer(second_texts)
  room = seq_length - (2 if second is None else 3)
  if second is None:
    first = first[:, :room]
  else:
    lengths, second_lengths = first.row_lengths(), second.row_lengths()
    first = _heads(first, tf.maximum(room - second_lengths, (room + 1) // 2))
    second = _heads(second, tf.maximum(room - lengths, room // 2))
  edge = tf.ones([tf.shape(texts)[0], 1], tf.int32)
  words = tf.concat(
      [edge * tokenizer.cls_id, first, edge * tokenizer.sep_id], axis=1)
  types = tf.zeros_like(words)
  if second is not None:
    ends = tf.concat([second, edge * tokenizer.sep_id], axis=1)
    words = tf.concat([words, ends], axis=1)
    types = tf.concat([types, tf.ones_like(ends)], axis=1)
  return words, types


def padded_inputs(words: tf.RaggedTensor, types: tf.RaggedTensor,
                  length: int | tf.Tensor) -> dict[str, tf.Tensor]:
  """The encoder's inputs: `[batch, length]` int32 each, padded with zeros.

  Args:
    words: `[batch, (tokens)]` int32, none longer than `length`.
    types: as long as `words`.
    length: tokens a row.
  """
  shape = [None, length] if isinstance(length, int) else tf.stack([-1, length])
  return {'input_word_ids': words.to_tensor(0, shape=shape),
          'input_mask': tf.ones_like(words).to_tensor(0, shape=shape),
          'input_type_ids': types.to_tensor(0, shape=shape)}


def _heads(rows: tf.RaggedTensor, sizes: tf.Tensor) -> tf.RaggedTensor:
  """The first `sizes[i]` values of row i, or all if it is shorter."""
  positions = tf.ragged.range(rows.row_lengths())
  return tf.ragged.boolean_mask(rows, positions < sizes[:, tf.newaxis])
