"""Activations by the names of `Architecture`."""

from collections.abc import Callable

import tensorflow as tf, tf_keras

from official.modeling import tf_utils


def activation_named(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
  """The function of one of `growth.architecture.ACTIVATIONS`.

  All of them are registered with Keras, so that their names survive
  `get_config()`, which Model Garden's default, a lambda, does not.
  """
  return {
      'gelu_tanh': tf_utils.get_activation('gelu'),
      'gelu_erf': tf_keras.activations.gelu,
      'relu': tf_keras.activations.relu,
  }[name]
