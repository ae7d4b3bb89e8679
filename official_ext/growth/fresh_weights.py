"""Values of units that copy nothing."""

import math

import numpy as np

# Keras' TruncatedNormal draws again beyond so many standard deviations.
_TRUNCATION = 2.0


def fresh_block(
    name: str, shape: tuple[int, ...], stddev: float,
    generator: np.random.Generator) -> np.ndarray:
  """Weights as a new model starts with.

  Kernels and embeddings: a normal distribution truncated at two standard
  deviations, not rescaled, as in BERT. Gammas 1; betas and biases 0.

  Args:
    name: canonical name, which says what the weight is.
    shape: of the block.
    stddev: standard deviation before the truncation.
    generator: the source of the numbers.

  Returns:
    a float32 array.
  """
  if name.endswith('gamma'):
    return np.ones(shape, np.float32)
  if name.endswith(('beta', 'bias')):
    return np.zeros(shape, np.float32)
  values = generator.standard_normal(shape, dtype=np.float32)
  while (outside := np.abs(values) > _TRUNCATION).any():
    values[outside] = generator.standard_normal(
        np.count_nonzero(outside), dtype=np.float32)
  return values * np.float32(stddev)


def sinusoidal_positions(shape: tuple[int, int], stddev: float) -> np.ndarray:
  """Position embeddings that start as sinusoids of many wavelengths.

  Vaswani et al. (2017), section 3.5: unit 2i of position p is
  sin(p / 10000^(2i / hidden)), unit 2i + 1 its cosine. Neighbouring positions
  start with similar vectors, so attention finds the neighbours of a token sooner
  than from random ones. Departs from the paper in the amplitude, which gives the
  sinusoids the root mean square of the other embeddings, and in that the
  values are only a start and are trained.

  Args:
    shape: `(positions, hidden)`.
    stddev: the root mean square of the values, over whole wavelengths.

  Returns:
    a float32 array `[positions, hidden]`.
  """
  num_positions, hidden_size = shape
  unit = np.arange(hidden_size)
  frequency = 10000.0 ** (-(unit - unit % 2) / hidden_size)
  angle = np.arange(num_positions)[:, np.newaxis] * frequency
  values = np.where(unit % 2, np.cos(angle), np.sin(angle))
  return (math.sqrt(2) * stddev * values).astype(np.float32)
