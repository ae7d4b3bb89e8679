"""The losses of BERT pre-training, and the metric that follows them."""

from typing import NamedTuple

import tensorflow as tf, tf_keras

from official_ext.modeling import custom_gradients


class Sums(NamedTuple):
  """Numerator and denominator of a mean, so that replicas can be added."""
  total: tf.Tensor  # [] float32
  weight: tf.Tensor  # [] float32

  def mean(self, replica_context=None) -> tf.Tensor:
    """This replica's share of the mean over all replicas.

    Replicas hold different numbers of masked tokens. Each divides its own
    total by the *global* weight, so the shares add up to the loss of the whole
    batch on one device.

    Args:
      replica_context: None divides by this replica's weight alone.
    """
    weight = self.weight
    if replica_context is not None:
      weight = custom_gradients.all_reduce_sum(replica_context, weight)
    return tf.math.divide_no_nan(self.total, weight)


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
  return Sums(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))


def next_sentence_sums(labels: tf.Tensor, logits: tf.Tensor) -> Sums:
  """Cross entropy over the sentence pairs.

  Args:
    labels: `[batch, 1]` or `[batch]` integers.
    logits: `[batch, 2]` floats of any width.
  """
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      tf.reshape(labels, [-1]), tf.cast(logits, tf.float32))
  return Sums(tf.reduce_sum(losses), tf.cast(tf.size(losses), tf.float32))


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
