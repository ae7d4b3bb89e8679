"""How long the cores take to add up their gradients."""

from official_ext.analysis.accelerators import Topology

_FLOAT32_BYTES = 4


def all_reduce_seconds(num_values: int, topology: Topology,
                       num_cores: int) -> float:
  """Time of a ring all-reduce of float32 gradients; an estimate.

  Each chip sends `2 (n - 1) / n` of the bytes round a ring of `n` chips (Patarasu
  and Yuan, *Bandwidth optimal all-reduce algorithms*, 2009), over all its links
  at their published rate. The cores of one chip add up in its memory, which is
  not counted; nor are latencies. A compiler may hide some of it behind the
  backward pass.

  Args:
    num_values: gradients.
    topology: gives the chip and its links.
    num_cores: that share a batch.
  """
  chips = -(-num_cores // topology.chip.cores)
  sent = 2 * (chips - 1) / chips * _FLOAT32_BYTES * num_values
  return sent / topology.chip.link_bytes_per_second
