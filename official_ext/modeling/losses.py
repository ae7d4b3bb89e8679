"""The losses of BERT pre-training, and the metric that follows them."""

from typing import NamedTuple

import tensorflow as tf, tf_keras


class Sums(NamedTuple):
  """Numerator and denominator of a mean, so that parts of a batch can be added."""
  total: tf.Tensor  # [] float32
  weight: tf.Tensor  # [] float32

  def mean(self, global_weight: tf.Tensor | None = None) -> tf.Tensor:
    """The share `[]` of this part of a batch in the mean over the whole batch.

    Replicas and micro-batches hold different numbers of masked tokens. Each
    divides its own total by the *global* weight, so the shares add up to the
    loss of the whole batch on one device.

    Args:
      global_weight: `[]`, of all parts together; None means that this is the
        whole batch.
    """
    return tf.math.divide_no_nan(
        self.total, self.weight if global_weight is None else global_weight)


def masked_lm_sums(
    labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor) -> Sums:
  """Cross entropy over the masked tokens.

  Args:
    labels: `[batch, predictions]` integers.
    logits: `[batch, predictions, vocab]` floats of any width.
    weights: `[batch, predictions]`, 0 for padding predictions.
  """
  weights = tf.cast(weights, tf.float32)
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels, tf.cast(logits, tf.float32))
  return Sums(tf.reduce_sum(losses * weights), total_weight(weights))


def total_weight(weights: tf.Tensor) -> tf.Tensor:
  """The weight of `masked_lm_sums`, see there."""
  return tf.reduce_sum(tf.cast(weights, tf.float32))


def next_sentence_sums(labels: tf.Tensor, logits: tf.Tensor) -> Sums:
  """Cross entropy over the sentence pairs.

  Args:
    labels: `[batch, 1]` or `[batch]` integers.
    logits: `[batch, 2]` floats of any width.
  """
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      tf.reshape(labels, [-1]), tf.cast(logits, tf.float32))
  return Sums(tf.reduce_sum(losses), num_examples(labels))


def num_examples(labels: tf.Tensor) -> tf.Tensor:
  """The weight of `next_sentence_sums`, see there."""
  return tf.cast(tf.size(labels), tf.float32)


@tf_keras.utils.register_keras_serializable(package='official_ext')
class PretrainingLoss(tf_keras.metrics.Metric):
  """Mean masked-LM loss plus mean next-sentence loss.

  Both means run over everything seen since the last reset, so the value does
  not depend on how the examples were cut into batches or over replicas.
  """

  def __init__(self, name: str = 'loss', **kwargs):
    super().__init__(name=name, **kwargs)
    self._sums = [
        self.add_weight(f'{part}_{field}', initializer='zeros')
        for part in ('masked_lm', 'next_sentence')
        for field in ('total', 'weight')]

  def update_state(self, masked_lm: Sums, next_sentence: Sums | None = None):
    values = (*masked_lm, *(next_sentence or ()))
    for variable, value in zip(self._sums, values):
      variable.assign_add(value)

  def result(self):
    masked_lm, next_sentence = Sums(*self._sums[:2]), Sums(*self._sums[2:])
    return masked_lm.mean() + next_sentence.mean()
