"""What has to change in TensorFlow's StableHLO text, and what it says of FLOPs."""

from collections.abc import Sequence
import math
import re

_MODULE = re.compile(r'^module @\S+', re.MULTILINE)
_COPY = re.compile(r'mhlo\.copy (%[\w#]+) : (tensor<[^>]*>)')
_PACKED_BOOLEANS = re.compile(r'dense<"0x([0-9A-Fa-f]+)"> : tensor<((?:\d+x)+)i1>')
_DEFINED = re.compile(r'\s*%\w+(?::\d+|, %\w+)* = ')
_VALUE = re.compile(r'%\w+')
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


def product_flops(text: str) -> int:
  """FLOPs of all matrix products, two a multiply-add.

  Of a program without loops: each product is counted as often as it is written.
  Not where nothing depends on it: TensorFlow writes down both gradients of a
  product, also that of an input that is frozen.
  """
  total = 0
  for match in map(_DOT.search, _needed_products(text)):
    left = _shape(match['left'])
    # None where the sum comes later, as in gradients of einsums with an ellipsis.
    contracted = ([int(dim) for dim in re.findall(r'\d+', match['dims'] or '')]
                  if match['general'] else [len(left) - 1])
    total += 2 * math.prod(_shape(match['out'])) * math.prod(
        left[dim] for dim in contracted)
  return total


def _needed_products(text: str) -> list[str]:
  """The lines with products that a result depends on."""
  needed, used = [], set()
  for line in reversed(text.splitlines()):
    if line.lstrip().startswith('func.func'):
      # Values are numbered anew in every function.
      used.clear()
      continue
    defined = _DEFINED.match(line)
    if defined and used.isdisjoint(_VALUE.findall(defined[0])):
      continue
    if 'stablehlo.dot' in line:
      needed.append(line)
    used.update(_VALUE.findall(line[defined.end():] if defined else line))
  return needed


def _shape(tensor: str) -> list[int]:
  """`2x512xf32` -> [2, 512]."""
  return [int(size) for size in tensor.split('x')[:-1]]
