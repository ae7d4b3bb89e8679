"""Compiles quickly rather than well: the models are tiny."""

import os

import pytest

# Read once, when XLA is first used.
os.environ.setdefault('XLA_FLAGS', '--xla_backend_optimization_level=0')


@pytest.fixture(scope='session')
def mirrored():
  """Two logical CPUs.

  One for the whole process: every MirroredStrategy counts its collectives from
  the same number, and TensorFlow takes a second one's for repeats of the first.
  """
  import tensorflow as tf  # pylint: disable=g-import-not-at-top
  return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
