"""Random numbers that depend on a seed and a name alone, not on any order."""

import hashlib

import numpy as np


def named_generator(seed: int, name: str) -> np.random.Generator:
  """A generator of its own for each seed and name."""
  digest = hashlib.sha256(name.encode()).digest()
  return np.random.default_rng([seed, int.from_bytes(digest[:8], 'big')])
