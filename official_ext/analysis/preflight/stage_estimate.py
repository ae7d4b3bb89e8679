"""What the compiled programs of a stage come to: seconds and memory."""

import dataclasses
import statistics
from typing import Any

from official_ext.analysis.accelerators import Chip
from official_ext.analysis.preflight.compiled_step import CompiledStep

RANDOM_NUMBERS = 'random numbers'


@dataclasses.dataclass(frozen=True)
class StageEstimate:
  """Estimates of the TPU compiler for a stage.

  Attributes:
    steps: its programs, which are run equally often.
    chip: what they were compiled for.
    all_reduce_seconds: of a step's gradients, see `all_reduce`.
  """

  steps: tuple[CompiledStep, ...]
  chip: Chip
  all_reduce_seconds: float

  @property
  def error(self) -> str | None:
    """Why a program does not compile, and at what; None if all do."""
    for step in self.steps:
      if step.error:
        return (f'{step.operation}: ' if step.operation else '') + step.error
    return None

  @property
  def memory_bytes(self) -> int:
    """On a core, of the dearest program."""
    return max(step.memory_bytes for step in self.steps)

  @property
  def flops(self) -> float:
    """Of a step on one core, as the compiler counts."""
    return statistics.mean(step.flops for step in self.steps)

  @property
  def product_flops(self) -> float:
    """Of a step on one core, matrix products alone."""
    return statistics.mean(step.product_flops for step in self.steps)

  def group_seconds(self) -> dict[str, float]:
    """Of a step, by group of operations; without the all-reduce."""
    return {
        group: statistics.mean(step.cycles[group] for step in self.steps)
               / self.chip.clock_hertz
        for group in self.steps[0].cycles}

  @property
  def compute_seconds(self) -> float:
    """Of a step, without the all-reduce."""
    return sum(self.group_seconds().values())

  @property
  def step_seconds(self) -> float:
    """Of a step, the all-reduce after the rest."""
    return self.compute_seconds + self.all_reduce_seconds

  def to_json(self) -> dict[str, Any]:
    if self.error:
      return {'error': self.error}
    return {
        'error': None, 'memory_bytes': self.memory_bytes, 'flops': self.flops,
        'product_flops': self.product_flops,
        'group_seconds': self.group_seconds(),
        'all_reduce_seconds': self.all_reduce_seconds,
        'compute_seconds': self.compute_seconds,
        'step_seconds': self.step_seconds}
