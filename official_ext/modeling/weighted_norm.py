"""LayerNorms that keep the statistics of a smaller model, for a while."""

import tensorflow as tf, tf_keras

from official_ext.growth import norm_unit_weights


class NormAnnealing(tf.Module):
  """How far a model's LayerNorms are on their way to ordinary ones.

  One for the whole model; its variables are part of checkpoints.

  Attributes:
    step: training steps done since the growth.
    num_steps: after how many the LayerNorms are ordinary; 0 means never.
  """

  def __init__(self):
    super().__init__(name='norm_anneal')
    self.step, self.num_steps = (
        tf.Variable(
            0, trainable=False, dtype=tf.int64, name=name,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        for name in ('step', 'num_steps'))

  def advance(self) -> None:
    """Counts one training step."""
    self.step.assign_add(1)

  def share(self, dtype: tf.DType) -> tf.Tensor:
    """The share `[]` of ordinary LayerNorm in the mixture, from 0 to 1."""
    done = tf.cast(self.step, dtype)
    whole = tf.cast(self.num_steps, dtype)
    return tf.minimum(tf.math.divide_no_nan(done, whole), 1.)


@tf_keras.utils.register_keras_serializable(package='official_ext')
class WeightedLayerNormalization(tf_keras.layers.LayerNormalization):
  """LayerNorm over the last axis, whose units count differently.

  Where d units were widened to D by copying them in turn, D not a multiple of
  d, an ordinary LayerNorm counts some of the old units more often than others,
  and the function is lost. With unit j counting `1 / (c_j * d)`, c_j the number
  of copies of the unit that it copies, mean and variance are those of the d
  units. Training then takes them to the ordinary ones: the weight of unit j is

      w_j = (1 - a) / (c_j * d) + a / D

  with a going from 0 to 1 as `annealing` says. Variables, and their names, are
  those of `LayerNormalization`.

  Args:
    source_size: d, the width before the growth.
    annealing: the model's; None stays at a = 0.
    **kwargs: those of `LayerNormalization`, without `axis`.

  Raises:
    ValueError: when built for an input that is narrower than `source_size`.
  """

  def __init__(self, source_size: int, annealing: NormAnnealing | None = None,
               **kwargs):
    kwargs.pop('axis', None)
    super().__init__(axis=-1, **kwargs)
    self.source_size = source_size
    # Its method only: the variables are the model's, not those of every layer.
    self._share = None if annealing is None else annealing.share

  def build(self, input_shape):
    super().build(input_shape)
    self._source_weights = norm_unit_weights(self.source_size, input_shape[-1])

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """Normalises `[..., units]`."""
    # At least as wide as the variables, as in `LayerNormalization`.
    x = tf.cast(inputs, self.variable_dtype)
    weights = self._unit_weights(x.dtype)
    mean = tf.reduce_sum(weights * x, axis=-1, keepdims=True)
    variance = tf.reduce_sum(
        weights * tf.math.squared_difference(x, mean), axis=-1, keepdims=True)
    outputs = tf.nn.batch_normalization(
        x, mean, variance, offset=self.beta, scale=self.gamma,
        variance_epsilon=self.epsilon)
    return tf.cast(outputs, self.compute_dtype)

  def _unit_weights(self, dtype: tf.DType) -> tf.Tensor:
    source = tf.constant(self._source_weights, dtype)
    if self._share is None:
      return source
    share = self._share(dtype)
    return (1. - share) * source + share / len(self._source_weights)

  def get_config(self):
    return {**super().get_config(), 'source_size': self.source_size}


def norm_like(
    norm: tf_keras.layers.LayerNormalization, source_size: int | None,
    annealing: NormAnnealing | None) -> tf_keras.layers.LayerNormalization:
  """What stands in the place of a LayerNorm of Model Garden, not yet built.

  Model Garden's are float32 whatever the policy, which narrows a float64 model.

  Args:
    norm: the ordinary one; given back where it serves.
    source_size: see `WeightedLayerNormalization`; None means ordinary.
    annealing: the model's.
  """
  policy = norm.dtype_policy
  wide = tf_keras.mixed_precision.global_policy().variable_dtype
  if policy.variable_dtype != wide:
    policy = tf_keras.mixed_precision.Policy(wide)
  arguments = dict(name=norm.name, epsilon=norm.epsilon, dtype=policy)
  if source_size is not None:
    return WeightedLayerNormalization(source_size, annealing, **arguments)
  if policy is norm.dtype_policy:
    return norm
  return tf_keras.layers.LayerNormalization(axis=-1, **arguments)
