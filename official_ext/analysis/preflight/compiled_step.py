"""What the compiler says of one step's program."""

import dataclasses
import re
from typing import Any

from official_ext.analysis.preflight import operation_groups
from official_ext.analysis.preflight import optimized_hlo

_OPERATION = re.compile(r'op_name="([^"]*)"|loc\("([^"]+)"|'
                        r"'((?:stablehlo|mhlo|chlo)\.\w+)' op")
_USED_MEMORY = re.compile(r'Used ([\d.]+[KMGT]) of ([\d.]+[KMGT]) hbm')
_LONGEST_MESSAGE = 300


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompiledStep:
  """One program on one core; estimates of the TPU compiler.

  Attributes:
    error: why it does not compile; None if it does.
    operation: what is in the way, if that is known.
    memory_bytes: greatest use of the core's memory.
    flops: as the compiler counts: products, and everything elementwise. None
      with micro-batches: the compiler counts the body of a loop once.
    product_flops: of the matrix products alone.
    cycles: of each of `operation_groups.GROUPS`.
  """

  error: str | None = None
  operation: str = ''
  memory_bytes: int = 0
  flops: float | None = 0.0
  product_flops: int = 0
  cycles: dict[str, int] = dataclasses.field(default_factory=dict)

  @property
  def total_cycles(self) -> int:
    return sum(self.cycles.values())


def from_compiler(result: dict[str, Any], optimized: str | None,
                  product_flops: int, micro_batches: int = 1) -> CompiledStep:
  """Reads what `tpu_compile` wrote.

  Args:
    result: its JSON value.
    optimized: the optimised HLO; None if it did not compile.
    product_flops: of the program that it was given.
    micro_batches: how often its loop over them runs; 1 means no loop.
  """
  if 'error' in result:
    return failed(result['error'])
  memory = result['memory']
  return CompiledStep(
      # Weights and moments are updated in place: outputs that alias arguments.
      memory_bytes=(memory['argument'] + memory['output'] - memory['alias']
                    + memory['temp'] + memory['generated_code']),
      flops=result['flops'] if micro_batches == 1 else None,
      product_flops=product_flops,
      cycles=operation_groups.group_cycles(
          optimized_hlo.operation_cycles(optimized, micro_batches)))


def failed(message: str, operation: str = '') -> CompiledStep:
  """A program that does not compile, for this reason."""
  memory = _USED_MEMORY.search(message)
  if memory:
    message = (f'needs {memory[1]} of {memory[2]} of memory; take fewer '
               'sequences a core, or raise gradient_accumulation_steps')
  elif not operation:
    found = _OPERATION.search(message)
    operation = next(filter(None, found.groups()), '') if found else ''
  line = ' '.join(message.split())
  if len(line) > _LONGEST_MESSAGE:
    line = line[:_LONGEST_MESSAGE - 1] + '…'
  return CompiledStep(error=line, operation=operation)
