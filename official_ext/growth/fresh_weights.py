"""Values of units that copy nothing."""

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
