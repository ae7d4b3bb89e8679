"""The packed encoder against the Keras one, which pads."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext.downstream.text_features import padded_inputs
from official_ext.export import row_encoders
from official_ext.export.packed_encoder import PackedEncoder
from official_ext.growth.architecture import Architecture
from official_ext.modeling.encoder import GrowingBertEncoder

SMALL = Architecture(
    num_layers=2, hidden_size=16, num_heads=2, inner_size=32, vocab_size=50,
    max_positions=256)


def _encoder(architecture):
  encoder = GrowingBertEncoder.from_architecture(
      architecture, initializer_stddev=0.3)
  encoder(padded_inputs(*_rows([3]), 3))
  # Otherwise ones and zeros.
  random = np.random.default_rng(1)
  for variable in encoder.trainable_variables:
    variable.assign_add(0.1 * random.normal(size=variable.shape))
  return encoder


def _rows(sizes):
  random = np.random.default_rng(0)
  words = tf.ragged.constant(
      [random.integers(1, 50, size).tolist() for size in sizes], dtype=tf.int32)
  types = tf.ragged.constant(
      [random.integers(0, 2, size).tolist() for size in sizes], dtype=tf.int32)
  return words, types


@pytest.mark.parametrize('changes', [
    {}, {'ffn_rank': 4, 'activation': 'gelu_erf'}, {'ffn_sharing': 2,
                                                    'norm_epsilon': 1e-3}],
                         ids=['plain', 'factorised', 'shared'])
def test_it_computes_what_keras_does(changes):
  architecture = SMALL.replace(**changes)
  encoder = _encoder(architecture)
  packed = tf.function(PackedEncoder(encoder, architecture),
                       reduce_retracing=True)
  # Of every group, at its edges, out of order; and of one group only.
  for sizes in ([65, 3, 256, 1, 64, 193, 192, 64], [5], [200, 256]):
    words, types = _rows(sizes)
    inputs = padded_inputs(words, types, 256)
    is_token = inputs['input_mask'].numpy()[..., np.newaxis]
    expected = is_token * encoder(inputs, training=False)['sequence_output']
    got = packed(words, types, tf.constant(256))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_weighted_norms_are_padded_and_cannot_be_packed():
  architecture = SMALL.replace(norm_source_size=8)
  encoder = _encoder(architecture)
  with pytest.raises(ValueError, match='which only run padded; give buckets'):
    row_encoders.row_encoder(encoder, architecture, 'none')
  with pytest.raises(ValueError, match='cannot be packed; pad to buckets'):
    PackedEncoder(encoder, architecture)
  words, types = _rows([3, 9])
  got = row_encoders.row_encoder(encoder, architecture, None)(words, types, 32)
  inputs = padded_inputs(words, types, 9)
  np.testing.assert_allclose(
      got[1, :9], encoder(inputs, training=False)['sequence_output'][1],
      atol=1e-5)
  assert not got.numpy()[0, 3:].any()


def test_buckets():
  assert row_encoders.buckets(16) == (16,)
  assert row_encoders.buckets(100) == (32, 64, 100)
  assert row_encoders.buckets(128) == (32, 64, 128)
  for size, expected in ((1, 32), (32, 32), (33, 64), (100, 100)):
    words, _ = _rows([1, size])
    assert int(row_encoders.bucket_of(words, (32, 64, 100))) == expected


def test_another_padding_is_refused():
  with pytest.raises(ValueError, match='padding is some; give one of none,'):
    row_encoders.row_encoder(None, SMALL, 'some')
