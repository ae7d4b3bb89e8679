"""What the compiled programs of a stage come to: seconds and memory."""

from collections.abc import Collection
import dataclasses
import statistics
from typing import Any

from official_ext.analysis.accelerators import Chip
from official_ext.analysis.preflight.compiled_step import CompiledStep

ALL_REDUCE = 'all-reduce of gradients'


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
  def flops(self) -> float | None:
    """Of a step on one core, as the compiler counts; see `CompiledStep`."""
    counted = [step.flops for step in self.steps]
    return None if None in counted else statistics.mean(counted)

  @property
  def product_flops(self) -> float:
    """Of a step on one core, matrix products alone."""
    return statistics.mean(step.product_flops for step in self.steps)

  def seconds(self) -> dict[str, float]:
    """Of a step, by group of operations, the all-reduce as the last."""
    return {
        group: statistics.mean(step.cycles[group] for step in self.steps)
               / self.chip.clock_hertz
        for group in self.steps[0].cycles} | {
            ALL_REDUCE: self.all_reduce_seconds}

  @property
  def step_seconds(self) -> float:
    """Of a step, the all-reduce after the rest."""
    return self.step_seconds_without(())

  def step_seconds_without(self, groups: Collection[str]) -> float:
    """Of a step, had it not these groups."""
    return sum(seconds for group, seconds in self.seconds().items()
               if group not in groups)

  def to_json(self) -> dict[str, Any]:
    if self.error:
      return {'error': self.error}
    return {
        'error': None, 'memory_bytes': self.memory_bytes, 'flops': self.flops,
        'product_flops': self.product_flops, 'seconds': self.seconds()}
