"""How far two models' outputs are apart."""

from collections.abc import Mapping
import dataclasses

import numpy as np

Arrays = np.ndarray | Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ParityReport:
  """Largest difference between the outputs of two models.

  Attributes:
    max_difference: largest absolute difference; NaN if an output is NaN.
    where: output with that difference.
    tolerance: what was allowed.
  """

  max_difference: float
  where: str
  tolerance: float

  @property
  def holds(self) -> bool:
    return self.max_difference <= self.tolerance


def max_difference(first: Arrays, second: Arrays) -> float:
  """Largest absolute difference, in float64; NaN if either holds a NaN."""
  return compare(first, second, tolerance=0.0).max_difference


def compare(first: Arrays, second: Arrays, *, tolerance: float) -> ParityReport:
  """Compares two arrays, or two mappings of arrays with the same names.

  Raises:
    ValueError: if names or shapes differ.
  """
  if not isinstance(first, Mapping):
    first, second = {'output': first}, {'output': second}
  if set(first) != set(second):
    raise ValueError(
        f'compare: outputs {sorted(first)} against {sorted(second)}; give the '
        'same names on both sides.')
  largest, where = 0.0, ''
  for name in first:
    a = np.asarray(first[name], np.float64)
    b = np.asarray(second[name], np.float64)
    if a.shape != b.shape:
      raise ValueError(
          f'compare: output {name!r} has shapes {a.shape} and {b.shape}; give '
          'equal shapes.')
    difference = float(np.max(np.abs(a - b), initial=0.0))
    # NaN compares false with everything, yet has to win.
    if not where or not difference <= largest:
      largest, where = difference, name
    if np.isnan(difference):
      break
  return ParityReport(largest, where, tolerance)
