"""Compiles quickly rather than well: the models are tiny. Float64 on demand."""

import os

import pytest

# Read once, when XLA is first used.
os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')


@pytest.fixture
def float64():
  """Keras computes in float64."""
  import tf_keras  # pylint: disable=g-import-not-at-top
  tf_keras.mixed_precision.set_global_policy('float64')
  tf_keras.backend.set_floatx('float64')
  yield
  tf_keras.backend.set_floatx('float32')
  tf_keras.mixed_precision.set_global_policy('float32')


@pytest.fixture
def float64_losses(monkeypatch, float64):
  """As `float64`, for a BERT, and with losses in float64.

  Model Garden's post-LN layers name float32 for their LayerNorms, whatever the
  policy; so does our loss.
  """
  # pylint: disable=g-import-not-at-top
  from official.nlp.modeling.layers import transformer_encoder_block
  from official.nlp.modeling.networks import bert_encoder
  import tensorflow as tf

  from official_ext.modeling import losses

  class Float64TensorFlow:
    float32 = tf.float64

    def __getattr__(self, name):
      return getattr(tf, name)

  for module in (transformer_encoder_block, bert_encoder, losses):
    monkeypatch.setattr(module, 'tf', Float64TensorFlow())
