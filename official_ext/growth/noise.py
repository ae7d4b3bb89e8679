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
  moved = np.array(weight)
  values = np.moveaxis(moved, axis, 0)
  deviation = scale * float(weight.std())
  for copies in unit_map.copies:
    copies = copies.T  # [copy, old unit]
    noise = _zero_sum(
        len(copies), (copies.shape[1], *values.shape[1:]), generator)
    first = values[copies[:-1]]
    total = first.sum(axis=0, dtype=np.float64) + values[copies[-1]]
    first = (first + deviation * noise[:-1]).astype(weight.dtype)
    values[copies[:-1]] = first
    values[copies[-1]] = total - first.sum(axis=0, dtype=np.float64)
  return moved


def _zero_sum(
    count: int, shape: tuple[int, ...], generator: np.random.Generator
) -> np.ndarray:
  """[count, *shape] of unit variance that adds up to zero along the first."""
  if count == 2:
    noise = generator.standard_normal((1, *shape), dtype=np.float32)
    return np.concatenate([noise, -noise])
  noise = generator.standard_normal((count, *shape), dtype=np.float32)
  # Without its mean, unit variance becomes (c - 1) / c.
  return (noise - noise.mean(axis=0)) * np.float32(
      np.sqrt(count / (count - 1)))
