"""Ragged rows of tokens to vectors: packed, or padded to one of few lengths."""

from collections.abc import Callable, Sequence

import tensorflow as tf, tf_keras

from official_ext.downstream.text_features import padded_inputs
from official_ext.export import PADDINGS
from official_ext.export.packed_encoder import PackedEncoder
from official_ext.growth.architecture import Architecture

# From ragged word and type ids [batch, (tokens)] and a length to float32
# [batch, length, hidden], 0 where there is no token.
RowEncoder = Callable[
    [tf.RaggedTensor, tf.RaggedTensor, tf.Tensor], tf.Tensor]
_SHORTEST = 32


def buckets(longest: int) -> tuple[int, ...]:
  """Lengths to pad to: 32, twice that, and so on, and `longest` itself."""
  lengths = []
  length = _SHORTEST
  while length < longest:
    lengths.append(length)
    length *= 2
  return (*lengths, longest)


def bucket_of(rows: tf.RaggedTensor, lengths: Sequence[int]) -> tf.Tensor:
  """The smallest of sorted lengths that all rows fit in; int32 scalar."""
  longest = tf.cast(rows.bounding_shape(axis=1), tf.int32)
  return tf.gather(lengths, tf.searchsorted(lengths, longest[tf.newaxis])[0])


def row_encoder(encoder: tf_keras.Model, architecture: Architecture,
                padding: str | None) -> RowEncoder:
  """How the text signatures run an encoder.

  Args:
    encoder: a built `BertEncoderV2`, stock or growing.
    architecture: of the encoder.
    padding: 'none' computes on tokens only, for CPUs and whatever else takes
      any shape; 'buckets' pads, so that an accelerator or XLA meets few shapes.
      None is 'none' where that is possible.

  Raises:
    ValueError: padding is neither, or the architecture needs 'buckets'.
  """
  needs_buckets = architecture.norm_source_size is not None
  padding = padding or ('buckets' if needs_buckets else 'none')
  if padding not in PADDINGS:
    raise ValueError(f'padding is {padding}; give one of {",".join(PADDINGS)}.')
  if padding == 'none':
    if needs_buckets:
      raise ValueError(
          'padding is none, but the model has weighted LayerNorms, which only '
          'run padded; give buckets.')
    return PackedEncoder(encoder, architecture)

  def padded(words, types, length):
    inputs = padded_inputs(words, types, length)
    outputs = encoder(inputs, training=False)['sequence_output']
    return outputs * tf.cast(inputs['input_mask'], tf.float32)[..., tf.newaxis]
  return padded
