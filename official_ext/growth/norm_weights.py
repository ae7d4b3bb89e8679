"""Weighted LayerNorm: statistics of the smaller model, in the wider one."""

import numpy as np

from official_ext.growth.architecture import Architecture
from official_ext.growth.unit_maps import UnitMap


def norm_unit_weights(source_size: int, size: int) -> np.ndarray:
  """Weight of each unit in a LayerNorm's mean and variance.

  A residual stream that was widened from d units by copying them in turn keeps
  its mean and variance, for any width, if unit j counts 1 / (c_j * d), with c_j
  the number of copies of the unit that it copies.

  Args:
    source_size: d, the width before.
    size: the width now.

  Returns:
    [size] float64, its sum is 1; uniform if `size` is a multiple.

  Raises:
    ValueError: if the width shrinks.
  """
  if not 1 <= source_size <= size:
    raise ValueError(
        f'norm_unit_weights: source_size {source_size} and size {size}; give '
        'a source_size from 1 to size.')
  return np.asarray(UnitMap.wrap(source_size, size).shares) / source_size


def architecture_norm_weights(architecture: Architecture) -> np.ndarray:
  """The weights that an architecture's LayerNorms use; uniform by default."""
  size = architecture.hidden_size
  return norm_unit_weights(architecture.norm_source_size or size, size)
