"""One random state, and few random bits, for all the dropout of a model.

Keras draws dropout masks from the process's own random state, which no
checkpoint holds: a resumed run sees other masks than one that was never
stopped. Here every `Dropout` layer takes its seeds from one
`tf.random.Generator`. Its state is a variable: kept in checkpoints as an
attribute of the model, one stream per replica under a strategy, usable under
XLA, and it lives on when growth replaces the layers.

Masks are compared with random integers, and not made of uniform floats, because
drawing them is dear: on a CPU and a GPU 16 bits of Philox decide for a number,
half of what a float takes. On a TPU it is one byte of the chip's own generator:
there rates are rounded to 1/256 (0.1 is 0.1016, and what is kept is scaled by
that). With words of 32 bits, which go through the memory, a block of BERT base is
estimated at 1.23 times the cycles (v5e, 32 sequences of 512 tokens). TensorFlow's
`Generator.uniform` asks for Philox by name; written out in integer arithmetic, it
took two thirds of a step on v3.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import tensorflow as tf, tf_keras

# `Algorithm.AUTO_SELECT` of `tf.random`: the device chooses.
_CHOSEN_BY_DEVICE = 3


class Mask(NamedTuple):
  """What dropout does to numbers.

  Attributes:
    is_kept: bool of the numbers' shape.
    scale: factor of those that are kept, so that the mean stays.
  """
  is_kept: tf.Tensor
  scale: float


class SharedDropout:
  """Stands where a Keras layer keeps a random generator of its own.

  Args:
    generator: gives a seed to each call.
    for_tpu: draws as on a TPU, which only a compiler can; None means where the
      strategy is a TPU's.
  """

  # What the config of a layer says without a generator of its own.
  _rng_type = 'legacy_stateful'

  def __init__(self, generator: tf.random.Generator,
               for_tpu: bool | None = None):
    self._generator = generator
    self._for_tpu = for_tpu

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
    mask = self.mask(shape, rate)
    return tf.where(
        mask.is_kept, inputs * mask.scale, tf.zeros([], inputs.dtype))

  def mask(self, shape: Sequence[int | tf.Tensor], rate: float) -> Mask:
    """A random mask.

    Args:
      shape: of the mask.
      rate: share that is dropped, rounded to the bits that decide.
    """
    seed = self._generator.make_seeds(1)[:, 0]
    for_tpu = self._for_tpu
    if for_tpu is None:
      for_tpu = isinstance(
          tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
    numbers = _bytes_in_lanes(shape, seed) if for_tpu else _halves(shape, seed)
    return _compared(numbers, rate)


def _compared(numbers: tf.Tensor, rate: float) -> Mask:
  """Keeps where a random integer is at least the rate's share of its range."""
  count = numbers.dtype.max + 1
  # Any rate drops something, and something is kept.
  dropped = min(max(round(rate * count), 1 if rate else 0), count - 1)
  return Mask(numbers >= tf.constant(dropped, numbers.dtype),
              count / (count - dropped))


def _halves(shape: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
  size = math.prod(shape)
  words = tf.random.stateless_uniform(
      [(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32)
  halves = tf.bitcast(words, tf.uint16)
  return tf.reshape(tf.reshape(halves, [-1])[:size], shape)


def _bytes_in_lanes(shape: Sequence[int | tf.Tensor], seed: tf.Tensor
                    ) -> tf.Tensor:
  """Bytes of a TPU's generator, of attention's scores in the order it has them.

  The compiler has queries side by side in the chip's lanes, and random numbers
  by their last axis: drawn in that order they need not be copied.
  """
  if len(shape) < 4:
    return _bytes(shape, seed)
  *batch, queries, keys = shape
  return tf.linalg.matrix_transpose(_bytes([*batch, keys, queries], seed))


def _bytes(shape: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
  # Imported here: elsewhere than on a TPU it is not needed.
  from tensorflow.compiler.tf2xla.ops import gen_xla_ops  # pylint: disable=g-import-not-at-top
  _, drawn = gen_xla_ops.xla_rng_bit_generator(
      _CHOSEN_BY_DEVICE, tf.bitcast(seed, tf.uint64), shape, dtype=tf.uint8)
  return drawn


def share_generator(
    model: tf_keras.Model, generator: tf.random.Generator,
    for_tpu: bool | None = None) -> int:
  """Makes every dropout layer of a built model draw from `generator`.

  tf_keras has no public way to hand a generator to a layer that another layer
  creates; only this function and the next reach into its random layers.

  Args:
    model: a model whose layers have been built.
    generator: created under the strategy that the model is trained with.
    for_tpu: see `SharedDropout`.

  Returns:
    How many dropout layers there are.
  """
  layers = [layer for layer in model.submodules
            if isinstance(layer, tf_keras.layers.Dropout)]
  for layer in layers:
    layer._random_generator = SharedDropout(generator, for_tpu)  # pylint: disable=protected-access
  return len(layers)


def mask_of(layer: tf_keras.layers.Dropout, shape: Sequence[int | tf.Tensor]
            ) -> Mask:
  """A mask of a layer's rate, see `SharedDropout`.

  Before `share_generator` it comes from the process's state, as in Keras.
  """
  source = layer._random_generator  # pylint: disable=protected-access
  if isinstance(source, SharedDropout):
    return source.mask(shape, layer.rate)
  return Mask(tf.random.uniform(shape) >= layer.rate, 1 / (1 - layer.rate))
