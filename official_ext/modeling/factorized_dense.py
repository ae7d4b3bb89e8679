"""A dense layer whose kernel is a product of two."""

import tensorflow as tf, tf_keras

from official.modeling import tf_utils


@tf_keras.utils.register_keras_serializable(package='official_ext')
class FactorizedDense(tf_keras.layers.Layer):
  """`x @ kernel_in @ kernel_out + bias`, CompoundGrow, section 3.2.

  The products are Keras' own; nothing stands between them. Both kernels are
  filled by the same initializer, as if they were layers of their own.

  Args:
    rank: columns of `kernel_in` and rows of `kernel_out`.
    units: size of the last axis of the output.
    kernel_initializer: fills both kernels.
    **kwargs: those of `Layer`.

  Attributes:
    kernel_in: `[inputs, rank]`.
    kernel_out: `[rank, units]`.
    bias: `[units]`.
  """

  def __init__(self, rank: int, units: int, *,
               kernel_initializer='glorot_uniform', **kwargs):
    super().__init__(**kwargs)
    self.rank = rank
    self.units = units
    self.kernel_initializer = tf_keras.initializers.get(kernel_initializer)

    def dense(size, bias_axes, name):
      # With '...' the kernel's gradient would be made for every token, and
      # added up afterwards.
      return tf_keras.layers.EinsumDense(
          'abc,cd->abd', output_shape=(None, size), bias_axes=bias_axes,
          kernel_initializer=tf_utils.clone_initializer(
              self.kernel_initializer),
          dtype=self.dtype_policy, name=name)

    self._dense_in = dense(rank, None, 'in')
    self._dense_out = dense(units, 'd', 'out')

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    """`[batch, rows, inputs]` to `[batch, rows, units]`."""
    return self._dense_out(self._dense_in(inputs))

  @property
  def kernel_in(self) -> tf.Variable:
    return self._dense_in.kernel

  @property
  def kernel_out(self) -> tf.Variable:
    return self._dense_out.kernel

  @property
  def bias(self) -> tf.Variable:
    return self._dense_out.bias

  def get_config(self):
    return {
        **super().get_config(),
        'rank': self.rank,
        'units': self.units,
        'kernel_initializer': tf_utils.serialize_initializer(
            self.kernel_initializer, use_legacy_format=True),
    }
