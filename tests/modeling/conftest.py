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
