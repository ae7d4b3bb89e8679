"""The chips that a run may be planned for, by their published figures."""

import dataclasses
import math
import re

_TOPOLOGY = re.compile(r'(\w+):(\d+(?:x\d+)*)')


@dataclasses.dataclass(frozen=True)
class Chip:
  """A TPU chip, as Google Cloud's documentation describes it.

  Attributes:
    name: as in a topology.
    cores: devices that TensorFlow sees on a chip; from v4 on the two cores of a
      chip act as one.
    peak_flops: bfloat16 FLOPs a second of the whole chip.
    memory_bytes: of the whole chip.
    link_bytes_per_second: between chips, all links of a chip together, one way.
    clock_hertz: of the matrix units: `peak_flops` over their multiply-adds, of
      which a unit of v2 to v5p does 128 x 128 a cycle and one of v6e 256 x 256.
      v3 and v4 as published (Jouppi et al., 2021 and 2023); the others come out
      at round numbers.
    smallest_topology: a slice that the TPU compiler knows; for what one core
      does, one slice is as good as another.
  """

  name: str
  cores: int
  peak_flops: float
  memory_bytes: int
  link_bytes_per_second: float
  clock_hertz: float
  smallest_topology: str

  @property
  def core_flops(self) -> float:
    return self.peak_flops / self.cores

  @property
  def core_memory_bytes(self) -> int:
    return self.memory_bytes // self.cores


_GIB = 1 << 30
_GBIT = 1e9 / 8
CHIPS = {
    chip.name: chip for chip in (
        Chip('v2', 2, 46e12, 16 * _GIB, 2000 * _GBIT,
             700e6, 'v2:2x2'),
        Chip('v3', 2, 123e12, 32 * _GIB, 2624 * _GBIT,
             940e6, 'v3:2x2'),
        Chip('v4', 1, 275e12, 32 * _GIB, 2400 * _GBIT,
             1050e6, 'v4:2x2x1'),
        Chip('v5e', 1, 197e12, 16 * _GIB, 1600 * _GBIT,
             1500e6, 'v5e:2x2'),
        Chip('v5p', 1, 459e12, 95 * _GIB, 4800 * _GBIT,
             1750e6, 'v5p:2x2x1'),
        Chip('v6e', 1, 918e12, 32 * _GIB, 3584 * _GBIT,
             1750e6, 'v6e:2x2'))}


@dataclasses.dataclass(frozen=True)
class Topology:
  """A slice of chips.

  Attributes:
    chip: its kind.
    num_chips: how many.
  """

  chip: Chip
  num_chips: int

  @property
  def num_cores(self) -> int:
    return self.num_chips * self.chip.cores

  @classmethod
  def parse(cls, text: str) -> 'Topology':
    """Reads `v3:8x8`, `v4:2x2x1`, `v5e:4x4`.

    Raises:
      ValueError: it is no topology of a known chip.
    """
    match = _TOPOLOGY.fullmatch(text)
    if not match or match[1] not in CHIPS:
      raise ValueError(
          f'tpu_topology is {text!r}; give a chip and its shape, such as v3:8x8 '
          f'or v4:2x2x1 (v3-8 is v3:2x2). Chips: {", ".join(CHIPS)}.')
    sides, known = match[2], CHIPS[match[1]].smallest_topology
    if sides.count('x') != known.count('x'):
      raise ValueError(
          f'tpu_topology is {text!r}; a shape of {match[1]} has '
          f'{known.count("x") + 1} sides, such as {known}.')
    num_chips = math.prod(int(side) for side in sides.split('x'))
    if not num_chips:
      raise ValueError(
          f'tpu_topology is {text!r}, a shape without chips; give sides of at '
          'least 1.')
    return cls(CHIPS[match[1]], num_chips)
