"""What a training step's program takes, and what to execute it with."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from official_ext.analysis.preflight.step_program import StepProgram

_FEW = 16
_SAMPLE = 4096
# Features that are not the same everywhere, and the bound of their integers.
_BOUNDS = {
    'input_word_ids': lambda program: program.architecture.vocab_size,
    'input_type_ids': lambda program: 2,
    'masked_lm_positions': lambda program: program.architecture.sequence_length,
    'masked_lm_ids': lambda program: program.architecture.vocab_size,
    'next_sentence_labels': lambda program: 2,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Argument:
  """One argument of a program; the first of `values`, `below`, `mean` that is
  there says what it holds when the program is executed for its time.

  Attributes:
    name: of the feature or the variable.
    shape: of the array.
    dtype: NumPy's name of it.
    values: all of them, in row-major order.
    below: uniform integers from 0, below this.
    mean: of normal values.
    std: of normal values; 0 means that all are `mean`.
  """

  name: str
  shape: tuple[int, ...]
  dtype: str
  values: tuple[float | int, ...] | None = None
  below: int | None = None
  mean: float = 0.0
  std: float = 0.0


def of_feature(program: StepProgram, name: str, shape: Sequence[int],
               dtype: str) -> Argument:
  """An argument for a feature: random ids, no padding, nothing unmasked."""
  if name in _BOUNDS:
    return Argument(name=name, shape=tuple(shape), dtype=dtype,
                    below=_BOUNDS[name](program))
  return Argument(name=name, shape=tuple(shape), dtype=dtype, mean=1.0)


def of_variable(name: str, value: np.ndarray) -> Argument:
  """An argument for a variable: like what it holds, which need not be kept."""
  argument = Argument(name=name, shape=value.shape, dtype=value.dtype.name)
  if value.size <= _FEW:
    return dataclasses.replace(argument, values=tuple(value.ravel().tolist()))
  sample = value.ravel()[:_SAMPLE]
  return dataclasses.replace(
      argument, mean=float(sample.mean()), std=float(sample.std()))
