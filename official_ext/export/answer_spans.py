"""From start and end logits to the best answer of each question, in the graph.

As Model Garden's `squad_lib` finds it for evaluation.
"""

from typing import NamedTuple

import tensorflow as tf

from official_ext.export.answer_windows import Windows

# Finite, since not every client of a server can read infinities.
NO_SCORE = tf.float32.min


class Spans(NamedTuple):
  """The best answers of a batch of questions.

  Attributes:
    first_piece: int64 [batch], of all contexts' pieces; 0 where there is none.
    last_piece: int64 [batch].
    has_answer: bool [batch]: there is a span that may be one.
    score: float32 [batch], its start's and end's logits; `NO_SCORE` for none.
    null_score: float32 [batch], the least score of [CLS] in all windows.
  """

  first_piece: tf.Tensor
  last_piece: tf.Tensor
  has_answer: tf.Tensor
  score: tf.Tensor
  null_score: tf.Tensor


def best_spans(windows: Windows, start_logits: tf.Tensor,
               end_logits: tf.Tensor, *, batch: tf.Tensor, n_best_size: int,
               max_answer_length: int) -> Spans:
  """The best answers over all windows.

  Args:
    windows: of `batch` contexts.
    start_logits: float32 [windows, length].
    end_logits: float32 [windows, length].
    batch: int64 scalar, contexts.
    n_best_size: candidates for start and end in a window.
    max_answer_length: most tokens of an answer.
  """
  length = tf.shape(start_logits)[1]
  is_token = tf.sequence_mask(windows.words.row_lengths(), length)
  num_best = tf.minimum(n_best_size, length)

  def best(logits):
    return tf.math.top_k(
        tf.where(is_token, logits, NO_SCORE), num_best)
  start_scores, starts = best(start_logits)
  end_scores, ends = best(end_logits)
  # As wide as the logits: of a short window, padding is among the candidates.
  shape = tf.stack([-1, length])
  pieces = windows.pieces.to_tensor(-1, shape=shape)
  first = tf.gather(pieces, starts, batch_dims=1)
  last = tf.gather(pieces, ends, batch_dims=1)
  is_central = tf.gather(
      windows.is_central.to_tensor(False, shape=shape), starts, batch_dims=1)
  lengths = ends[:, tf.newaxis, :] - starts[:, :, tf.newaxis] + 1
  may_be = ((is_central & (first >= 0))[:, :, tf.newaxis]
            & (last >= 0)[:, tf.newaxis, :]
            & (lengths >= 1) & (lengths <= max_answer_length))
  scores = tf.where(
      may_be, start_scores[:, :, tf.newaxis] + end_scores[:, tf.newaxis, :],
      NO_SCORE)  # [windows, starts, ends]
  scores = tf.reshape(scores, [-1, num_best * num_best])
  pairs = tf.argmax(scores, axis=1, output_type=tf.int32)  # [windows]

  def of_best_window(values):
    by_question = tf.RaggedTensor.from_value_rowids(
        values, windows.examples, nrows=batch)
    return tf.gather(by_question.to_tensor(), window, batch_dims=1)
  window = tf.argmax(tf.RaggedTensor.from_value_rowids(
      tf.reduce_max(scores, axis=1), windows.examples, nrows=batch
  ).to_tensor(NO_SCORE), axis=1)
  score = of_best_window(tf.reduce_max(scores, axis=1))
  has_answer = score > NO_SCORE

  def piece(candidates, which):
    found = of_best_window(tf.gather(candidates, which, batch_dims=1))
    return tf.where(has_answer, found, 0)
  return Spans(
      first_piece=piece(first, pairs // num_best),
      last_piece=piece(last, pairs % num_best),
      has_answer=has_answer, score=score,
      null_score=tf.math.segment_min(
          start_logits[:, 0] + end_logits[:, 0], windows.examples))
