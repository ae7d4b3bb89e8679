"""Reads the cycles that the TPU compiler wrote into its optimised HLO.

The compiler estimates the cycles of each fusion while it chooses its tiles, and
leaves the number in the text, as of copies between layouts. Nothing is said of
what it fetches from memory beside other work (`copy-start`, `slice-start`), of
collectives, of transfers, and of its own generator's random bits: all these
count nothing here.
"""

from collections.abc import Iterator
import dataclasses
import re

_COMPUTATION = re.compile(r'(?P<entry>ENTRY )?%(?P<name>\S+) \(.*\{$')
_INSTRUCTION = re.compile(
    r'\s+(?:ROOT )?%(?P<name>\S+) = .*? (?P<opcode>[a-z][\w-]*)\(')
_OPERATION = re.compile(r'op_name="([^"]*)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CALLED = re.compile(r'\b(?:calls|to_apply|body)=%([\w.-]+)')
_BRANCHES = re.compile(
    r'branch_computations=\{([^}]*)\}|'
    r'true_computation=(%[\w.-]+), false_computation=(%[\w.-]+)')
_PRODUCTS = ('convolution', 'dot')
# TensorFlow's name of the loop of `modeling.gradient_accumulation`.
MICRO_BATCH_LOOP = 'micro_batches'


@dataclasses.dataclass
class _Instruction:
  opcode: str
  operation: str
  cycles: int
  called: tuple[str, ...]
  branches: tuple[str, ...]
  trips: int


@dataclasses.dataclass(frozen=True)
class OperationCycles:
  """Estimated cycles of one instruction of the program, in all its trips.

  Attributes:
    operation: TensorFlow's name of what it computes; of a fusion with a matrix
      product, that of the product; empty if the compiler made it up.
    cycles: estimated.
  """

  operation: str
  cycles: int


def operation_cycles(text: str, micro_batches: int = 1
                     ) -> list[OperationCycles]:
  """The cycles of every instruction that a program runs.

  The body of the loop over micro-batches counts as often as it runs, which
  libtpu 0.0.51 does not say. Any other loop's body counts as often as the
  compiler says, or once; a training step has no other loops. Of a conditional's
  branches the most expensive counts.

  Args:
    text: a scheduled, optimised HLO module.
    micro_batches: how often the loop over them runs; 1 means that there is none.

  Raises:
    ValueError: it is none, no cycles are in it, or it lacks the loop.
  """
  computations, entry = _parse(text)
  if entry is None or '"estimated_cycles"' not in text:
    raise ValueError(
        f'optimised HLO of {len(text)} characters has '
        f'{"no ENTRY" if entry is None else "no estimated_cycles"}; give the '
        "TPU compiler's own text, of a libtpu that writes them.")
  loops = [instruction for instructions in computations.values()
           for instruction in instructions if instruction.opcode == 'while'
           and instruction.operation == MICRO_BATCH_LOOP]
  if micro_batches > 1 and len(loops) != 1:
    raise ValueError(
        f'optimised HLO has {len(loops)} loops named {MICRO_BATCH_LOOP!r}, not '
        f'one over {micro_batches} micro-batches, so its cycles cannot be '
        'counted; plan with gradient_accumulation_steps = 1 and a batch_size of '
        'one micro-batch.')
  for loop in loops:
    loop.trips = micro_batches
  return list(_cycles(computations, entry, 1))


def _parse(text: str) -> tuple[dict[str, list[_Instruction]], str | None]:
  computations, entry, current = {}, None, None
  for line in text.splitlines():
    if not line.startswith(' '):
      match = _COMPUTATION.match(line)
      current = None
      if match:
        current = computations.setdefault(match['name'], [])
        entry = match['name'] if match['entry'] else entry
      continue
    match = _INSTRUCTION.match(line) if current is not None else None
    if match:
      current.append(_instruction(match['opcode'], line))
  return computations, entry


def _instruction(opcode: str, line: str) -> _Instruction:
  def first(pattern, default):
    match = pattern.search(line)
    return match[1] if match else default

  branches = _BRANCHES.search(line)
  return _Instruction(
      opcode, first(_OPERATION, ''), int(first(_CYCLES, 0)),
      tuple(_CALLED.findall(line)),
      tuple(re.findall(r'%([\w.-]+)', branches[0])) if branches else (),
      int(first(_TRIPS, 1)))


def _cycles(computations, name: str, trips: int) -> Iterator[OperationCycles]:
  for instruction in computations.get(name, ()):
    if instruction.opcode in ('while', 'call', 'async-start'):
      for called in instruction.called:
        yield from _cycles(computations, called, trips * instruction.trips)
    elif instruction.branches:
      yield from max(
          (list(_cycles(computations, branch, trips))
           for branch in instruction.branches),
          key=lambda costs: sum(cost.cycles for cost in costs))
    elif instruction.cycles:
      yield OperationCycles(
          _operation(computations, instruction), trips * instruction.cycles)


def _operation(computations, instruction: _Instruction) -> str:
  inside = [fused for called in instruction.called
            for fused in _all_of(computations, called) if fused.operation]
  products = [fused for fused in inside if fused.opcode in _PRODUCTS]
  for candidate in (*products, instruction, *inside):
    if candidate.operation:
      return candidate.operation
  return ''


def _all_of(computations, name: str) -> Iterator[_Instruction]:
  for instruction in computations.get(name, ()):
    yield instruction
    for called in instruction.called:
      yield from _all_of(computations, called)
