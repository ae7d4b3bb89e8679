"""Contexts of any length cut into windows that a model can read, in the graph.

As Model Garden's `squad_lib` cuts them for fine-tuning and evaluation.
"""

from typing import NamedTuple

import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer
from official_ext.export.served_tokenizer import split_words


class Windows(NamedTuple):
  """Windows of a batch of contexts, those of one after those of another.

  Attributes:
    words: int32 [windows, (tokens)]: [CLS] question [SEP] part [SEP].
    types: int32, alike: 1 for the part and what follows it.
    examples: int64 [windows], which context they are of.
    pieces: int64 [windows, (tokens)], which piece of all contexts a token is; -1
      for what is not of a context.
    is_central: bool, alike: a token of a context that has the most context in
      this window.
    num_tokens_left_out: int32 [batch], of contexts with too many windows.
  """

  words: tf.RaggedTensor
  types: tf.RaggedTensor
  examples: tf.Tensor
  pieces: tf.RaggedTensor
  is_central: tf.RaggedTensor
  num_tokens_left_out: tf.Tensor


class ContextPieces(NamedTuple):
  """The pieces of a batch of contexts.

  Attributes:
    ids: int32 [batch, (pieces)].
    words: string [all words], as they stand in the contexts.
    word_starts: int64, alike, the byte of its context at which a word starts.
    word_of: int64 [all pieces], the word that a piece is of.
    index_in_word: int64 [all pieces], counted from 0.
  """

  ids: tf.RaggedTensor
  words: tf.Tensor
  word_starts: tf.Tensor
  word_of: tf.Tensor
  index_in_word: tf.Tensor


def context_pieces(contexts: tf.Tensor, tokenizer: Tokenizer) -> ContextPieces:
  """The pieces of contexts, string [batch], and where they come from."""
  words, starts = split_words(contexts)
  pieces = tokenizer(words)  # [batch, (words), (pieces)]
  by_word = pieces.values
  return ContextPieces(
      ids=pieces.merge_dims(1, 2), words=words.values, word_starts=starts.values,
      word_of=by_word.value_rowids(),
      index_in_word=tf.ragged.range(by_word.row_lengths()).values)


def cut_windows(questions: tf.RaggedTensor, contexts: tf.RaggedTensor, *,
                tokenizer: Tokenizer, seq_length: int, doc_stride: int,
                max_windows: int) -> Windows:
  """Windows of contexts; a context without pieces has one.

  Args:
    questions: int32 [batch, (pieces)], at most `seq_length` - 4 each.
    contexts: int32 [batch, (pieces)].
    tokenizer: for its special tokens.
    seq_length: most tokens of a window.
    doc_stride: pieces from one window to the next.
    max_windows: most windows of a context.
  """
  sizes = contexts.row_lengths()
  room = seq_length - 3 - questions.row_lengths()
  stride = tf.minimum(room, tf.constant(doc_stride, tf.int64))
  wanted = 1 + -(-tf.maximum(sizes - room, 0) // stride)
  counts = tf.minimum(wanted, max_windows)
  read = tf.minimum(sizes, (counts - 1) * stride + room)

  examples = tf.repeat(tf.range(contexts.nrows()), counts)
  first = tf.ragged.range(counts).values * tf.gather(stride, examples)
  last = tf.minimum(first + tf.gather(room, examples),
                    tf.gather(read, examples))
  shift = tf.gather(contexts.row_starts(), examples)
  pieces = tf.ragged.range(first + shift, last + shift)

  edge = tf.ones_like(examples, tf.int32)[:, tf.newaxis]
  question = tf.concat(
      [edge * tokenizer.cls_id, tf.gather(questions, examples),
       edge * tokenizer.sep_id], axis=1)
  part = tf.concat([pieces.with_values(tf.gather(contexts.values, pieces.values)),
                    edge * tokenizer.sep_id], axis=1)

  def in_row(values, outside):
    """Values of the pieces at their places in the rows."""
    one = tf.fill(tf.shape(edge), outside)
    return tf.concat(
        [question.with_values(tf.fill(tf.shape(question.values), outside)),
         values, one], axis=1)
  return Windows(
      words=tf.concat([question, part], axis=1),
      types=tf.concat([tf.zeros_like(question), tf.ones_like(part)], axis=1),
      examples=examples,
      pieces=in_row(pieces, tf.constant(-1, tf.int64)),
      is_central=in_row(_is_central(pieces, contexts), False),
      num_tokens_left_out=tf.cast(sizes - read, tf.int32))


def _is_central(pieces: tf.RaggedTensor, contexts: tf.RaggedTensor
                ) -> tf.RaggedTensor:
  """Whether no other window has more context of a piece, nor as much earlier.

  Context is what there is on the shorter side, and a hundredth of the window's
  length.
  """
  sizes = pieces.row_lengths()
  rows = pieces.value_rowids()
  before = tf.ragged.range(sizes).values
  after = tf.gather(sizes, rows) - 1 - before
  context = (tf.cast(tf.minimum(before, after), tf.float64)
             + 0.01 * tf.cast(tf.gather(sizes, rows), tf.float64))
  num_pieces = tf.size(contexts.values, tf.int64)
  most = tf.math.unsorted_segment_max(context, pieces.values, num_pieces)
  has_most = tf.equal(context, tf.gather(most, pieces.values))
  earliest = tf.math.unsorted_segment_min(
      tf.where(has_most, rows, rows.dtype.max), pieces.values, num_pieces)
  return pieces.with_values(
      has_most & tf.equal(rows, tf.gather(earliest, pieces.values)))
