"""What has to change in TensorFlow's StableHLO text, and what it says of FLOPs."""

from collections.abc import Sequence
import math
import re

_MODULE = re.compile(r'^module @\S+', re.MULTILINE)
_COPY = re.compile(r'mhlo\.copy (%[\w#]+) : (tensor<[^>]*>)')
_PACKED_BOOLEANS = re.compile(r'dense<"0x([0-9A-Fa-f]+)"> : tensor<((?:\d+x)+)i1>')
_DEFINED = re.compile(r'\s*%\w+(?::\d+|, %\w+)* = ')
_VALUE = re.compile(r'%\w+')
_CALL = re.compile(r'\bcall @([\w.]+)\(')
_PRIVATE_FUNCTION = re.compile(r'\s*func\.func private @([\w.]+)\(')
_LOOP_BODY = re.compile(r'(\s*)\} do \{')
_DOT = re.compile(
    r'stablehlo\.dot(?P<general>_general)? [^:\n]*?'
    r'(?:contracting_dims = \[(?P<dims>[\d, ]*)\] x \[[\d, ]*\][^\n]*?)?'
    r' : \(tensor<(?P<left>[^>]*)>, tensor<[^>]*>\) -> tensor<(?P<out>[^>]*)>')


def for_newer_parsers(text: str) -> str:
  """The same program in the words that releases of MLIR after TensorFlow's read.

  - The module's name counts the functions that the process traced before.
  - `mhlo.copy` is an identity, and no StableHLO; a reshape to the same shape is
    one, too, and vanishes.
  - Constant booleans were packed eight to a byte and are no more.
  """
  text = _MODULE.sub('module @step', text, count=1)
  text = _COPY.sub(r'stablehlo.reshape \1 : (\2) -> \2', text)
  return _PACKED_BOOLEANS.sub(_unpacked, text)


def _unpacked(match: re.Match) -> str:
  shape = _shape(match[2] + 'i1')
  packed = bytes.fromhex(match[1])
  size = math.prod(shape)
  if len(packed) == size:
    return match[0]
  values = [bool(packed[i // 8] >> i % 8 & 1) for i in range(size)]
  return f'dense<{_nested(values, shape)}> : tensor<{match[2]}i1>'


def _nested(values: Sequence[bool], shape: Sequence[int]) -> str:
  if not shape:
    return 'true' if values[0] else 'false'
  stride = len(values) // shape[0]
  return '[' + ', '.join(
      _nested(values[start:start + stride], shape[1:])
      for start in range(0, len(values), stride)) + ']'


def product_flops(text: str, micro_batches: int = 1) -> int:
  """FLOPs of all matrix products, two a multiply-add.

  Each product is counted as often as it is run. Not where nothing depends on it:
  TensorFlow writes down both gradients of a product, also that of an input that
  is frozen.

  Args:
    text: StableHLO. The only loop in it, if there is one, is that over
      micro-batches.
    micro_batches: how often the loop runs.
  """
  total = 0
  for line, is_in_loop in _needed_products(text):
    match = _DOT.search(line)
    left = _shape(match['left'])
    # None where the sum comes later, as in gradients of einsums with an ellipsis.
    contracted = ([int(dim) for dim in re.findall(r'\d+', match['dims'] or '')]
                  if match['general'] else [len(left) - 1])
    trips = micro_batches if is_in_loop else 1
    total += trips * 2 * math.prod(_shape(match['out'])) * math.prod(
        left[dim] for dim in contracted)
  return total


def _needed_products(text: str) -> list[tuple[str, bool]]:
  """The lines with products that a result depends on; whether in the loop."""
  needed, used = [], set()
  for line, is_in_loop in reversed(_lines_that_run(text)):
    if line.lstrip().startswith('func.func'):
      # Values are numbered anew in every function.
      used.clear()
      continue
    defined = _DEFINED.match(line)
    if defined and used.isdisjoint(_VALUE.findall(defined[0])):
      continue
    if 'stablehlo.dot' in line:
      needed.append((line, is_in_loop))
    used.update(_VALUE.findall(line[defined.end():] if defined else line))
  return needed


def _lines_that_run(text: str) -> list[tuple[str, bool]]:
  """All lines but those of functions that are never called; whether in a loop.

  TensorFlow writes a loop's body where the loop is, and once more as a function.
  """
  called = set(_CALL.findall(text))
  lines, runs, loop_end = [], True, None
  for line in text.splitlines():
    private = _PRIVATE_FUNCTION.match(line)
    if private or line.lstrip().startswith('func.func'):
      runs = not private or private[1] in called
    if loop_end and line.startswith(loop_end):
      loop_end = None
    if runs:
      lines.append((line, loop_end is not None))
    body = _LOOP_BODY.match(line)
    if body:
      loop_end = body[1] + '}'
  return lines


def _shape(tensor: str) -> list[int]:
  """`2x512xf32` -> [2, 512]."""
  return [int(size) for size in tensor.split('x')[:-1]]
