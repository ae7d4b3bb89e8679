"""Zero-sum noise: lets copies of a unit part ways without changing the function.

Copies that get equal gradients stay equal for ever under SGD, Adam and LAMB, so
the bare copying rule trains a model no wider than before. What reads the copies
sums over them; noise on the reader that cancels in that sum changes nothing in
the forward pass, and gives each copy a gradient of its own. Units of different
layers, and fresh units, are no copies of each other and need none.
"""

import numpy as np

from official_ext.growth.unit_maps import UnitMap


def add_zero_sum_noise(
    weight: np.ndarray,
    axis: int,
    unit_map: UnitMap,
    scale: float,
    generator: np.random.Generator,
) -> np.ndarray:
  """Moves the copies along an in-axis apart, their sum unchanged.

  The last copy of each unit is the sum less the other copies *as rounded to the
  weight's type*, so the sum of the copies is off by one rounding at most.

  Args:
    weight: floating array whose `axis` has `unit_map.new_size` entries.
    axis: the in-axis.
    unit_map: the map that made the copies.
    scale: standard deviation of the noise, in units of the weight's own.
    generator: the source of the noise.

  Returns:
    A new array of the same shape and type.
  """
  values = np.moveaxis(np.asarray(weight, np.float64), axis, 0).copy()
  deviation = scale * values.std()
  for copies in unit_map.copies():
    total = values[copies].sum(axis=0)
    noise = generator.standard_normal((len(copies),) + values.shape[1:])
    # Without its mean, unit variance becomes (c - 1) / c.
    noise = (noise - noise.mean(axis=0)) * np.sqrt(
        len(copies) / (len(copies) - 1))
    moved = values[copies[:-1]] + deviation * noise[:-1]
    moved = moved.astype(weight.dtype).astype(np.float64)
    values[copies[:-1]] = moved
    values[copies[-1]] = total - moved.sum(axis=0)
  return np.moveaxis(values, 0, axis).astype(weight.dtype)
