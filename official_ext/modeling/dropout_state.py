"""One random state, and few random bits, for all the dropout of a model.

Keras draws dropout masks from the process's own random state, which no
checkpoint holds: a resumed run sees other masks than one that was never
stopped. Here every `Dropout` layer takes its seeds from one
`tf.random.Generator`. Its state is a variable: kept in checkpoints as an
attribute of the model, one stream per replica under a strategy, usable under
XLA, and it lives on when growth replaces the layers.

Masks are compared with random integers, and not made of uniform floats, because
drawing them is dear: on a CPU and a GPU 16 bits of Philox decide for a number,
half of what a float takes. On a TPU it is 32 bits of the chip's own generator.
TensorFlow chooses that one itself (`auto_select`) where Philox is not asked for
by name, as `Generator.uniform` does; written out in integer arithmetic, Philox
took two thirds of a step of BERT base by the compiler's estimate for v3.
"""

from collections.abc import Callable
from collections.abc import Sequence
import math

import tensorflow as tf, tf_keras

# From a shape and a seed [2] int64 to random uint32.
Words = Callable[[list[int | tf.Tensor], tf.Tensor], tf.Tensor]


class SharedDropout:
  """Stands where a Keras layer keeps a random generator of its own.

  Args:
    generator: gives a seed to each call.
    tpu_words: how 32-bit words are drawn on a TPU; None means what TensorFlow
      does, where the strategy is a TPU's.
  """

  # What the config of a layer says without a generator of its own.
  _rng_type = 'legacy_stateful'

  def __init__(self, generator: tf.random.Generator,
               tpu_words: Words | None = None):
    self._generator = generator
    self._tpu_words = tpu_words

  def dropout(self, inputs: tf.Tensor, rate: float, noise_shape=None
              ) -> tf.Tensor:
    """What the layer calls: numbers that are zeroed, or scaled up.

    Args:
      inputs: floats of any shape.
      rate: how probable it is that a number is zeroed.
      noise_shape: None; Model Garden's layers give no other.
    """
    if noise_shape is not None:
      raise NotImplementedError(
          f'noise_shape is {noise_shape}; only masks of the whole shape are '
          'drawn, leave it out.')
    shape = [size if size is not None else tf.shape(inputs)[axis]
             for axis, size in enumerate(inputs.shape)]
    return tf.where(self.is_kept(shape, rate), inputs * (1 / (1 - rate)),
                    tf.zeros([], inputs.dtype))

  def is_kept(self, shape: Sequence[int | tf.Tensor], rate: float
              ) -> tf.Tensor:
    """A random mask.

    Args:
      shape: of the mask.
      rate: share that is False, rounded to the bits that decide.

    Returns:
      bool of this shape.
    """
    seed = self._generator.make_seeds(1)[:, 0]
    if self._tpu_words is not None or isinstance(
        tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
      return self._is_kept_on_tpu(list(shape), rate, seed)
    size = math.prod(shape)
    halves = tf.bitcast(_words([(size + 1) // 2], seed), tf.uint16)
    return tf.reshape(tf.reshape(halves, [-1])[:size], shape) >= _threshold(
        rate, tf.uint16)

  def _is_kept_on_tpu(self, shape, rate: float, seed: tf.Tensor) -> tf.Tensor:
    # Halves of words would have to change places among the chip's lanes.
    draw = self._tpu_words or _words
    if len(shape) < 4:
      return draw(shape, seed) >= _threshold(rate, tf.uint32)
    # The compiler has attention's queries side by side in its lanes, and random
    # words by their last axis: drawn in that order they need not be copied.
    *batch, queries, keys = shape
    return tf.linalg.matrix_transpose(
        draw([*batch, keys, queries], seed) >= _threshold(rate, tf.uint32))


def _words(shape: list[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
  return tf.random.stateless_uniform(
      shape, seed, minval=None, maxval=None, dtype=tf.uint32)


def _threshold(rate: float, dtype: tf.DType) -> tf.Tensor:
  """As probable as the rate it is that an integer is smaller."""
  return tf.constant(min(round(rate * (dtype.max + 1)), dtype.max), dtype)


def share_generator(
    model: tf_keras.Model, generator: tf.random.Generator,
    tpu_words: Words | None = None) -> int:
  """Makes every dropout layer of a built model draw from `generator`.

  tf_keras has no public way to hand a generator to a layer that another layer
  creates; only this function and the next reach into its random layers.

  Args:
    model: a model whose layers have been built.
    generator: created under the strategy that the model is trained with.
    tpu_words: see `SharedDropout`.

  Returns:
    How many dropout layers there are.
  """
  layers = [layer for layer in model.submodules
            if isinstance(layer, tf_keras.layers.Dropout)]
  for layer in layers:
    layer._random_generator = SharedDropout(generator, tpu_words)  # pylint: disable=protected-access
  return len(layers)


def is_kept(layer: tf_keras.layers.Dropout, shape: Sequence[int | tf.Tensor]
            ) -> tf.Tensor:
  """A mask of a layer's rate, see `SharedDropout`.

  Before `share_generator` it comes from the process's state, as in Keras.
  """
  source = layer._random_generator  # pylint: disable=protected-access
  if isinstance(source, SharedDropout):
    return source.is_kept(shape, layer.rate)
  return tf.random.uniform(shape) >= layer.rate
