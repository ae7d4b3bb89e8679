"""Compiles StableHLO for a TPU that is not there; a program of its own.

  python -m official_ext.analysis.preflight.tpu_compile INPUT.mlir v3:2x2 OUTPUT_DIR

Needs jax and libtpu (the extra `tpu-preflight`) and nothing else, neither
TensorFlow nor this package: run by its path it works in any environment that
has these two. They stay out of TensorFlow's process, which has an XLA of its
own. Writes `result.json` and, where it compiles, `optimized.hlo.txt`. With
--versions prints the versions, as JSON.
"""

import importlib.metadata
import json
import os
import pathlib
import sys

PACKAGES = ('jax', 'jaxlib', 'libtpu')
RESULT_FILE = 'result.json'
OPTIMIZED_FILE = 'optimized.hlo.txt'
# Which slice libtpu is to think it is on; it matters only that there is one.
_NO_TPU = {
    'TPU_SKIP_MDS_QUERY': '1',      # Ask no metadata server for a TPU.
    # A TPU serves one process at a time, and libtpu takes a lock; there is none.
    'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
    'TPU_WORKER_HOSTNAMES': 'localhost',
    'TPU_ACCELERATOR_TYPE': 'v3-8',
    'TPU_STDERR_LOG_LEVEL': '3',
    'JAX_PLATFORMS': 'cpu',
}


def versions() -> dict[str, str]:
  """Version of each package; those that are missing are left out."""
  found = {}
  for name in PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      pass
  return found


def compile_text(text: str, topology_name: str) -> tuple[dict, str]:
  """Compiles a program for the first core of a topology.

  Args:
    text: StableHLO as MLIR text.
    topology_name: such as `v3:2x2`.

  Returns:
    Memory in bytes and FLOPs, and the optimised HLO text.

  Raises:
    Exception: whatever MLIR or the compiler says.
  """
  os.environ.update(_NO_TPU)
  # The first import of jax, which reads the environment. No public way leads
  # from StableHLO text to a compile-only client.
  from jax._src.interpreters import mlir
  from jax._src.lib.mlir import ir
  from jax.experimental import topologies
  from jaxlib import xla_client
  import numpy as np

  topology = topologies.get_topology_desc(
      platform='tpu', topology_name=topology_name)
  core = topology.devices[0]
  options = xla_client.CompileOptions()
  options.num_replicas = options.num_partitions = 1
  options.device_assignment = xla_client.DeviceAssignment.create(
      np.array([[core.id]]))
  with mlir.make_ir_context():
    module = ir.Module.parse(text)
    executable = core.client.compile(
        module, xla_client.DeviceList((core,)), options)
  memory = executable.get_compiled_memory_stats()
  costs = executable.cost_analysis()
  costs = costs[0] if isinstance(costs, list) else costs
  result = {
      'memory': {
          name: getattr(memory, f'{name}_size_in_bytes') for name in (
              'argument', 'output', 'alias', 'temp', 'generated_code')},
      'flops': costs['flops']}
  return result, executable.hlo_modules()[0].to_string()


def main(arguments: list[str]) -> None:
  if arguments == ['--versions']:
    print(json.dumps(versions()))
    return
  source, topology_name, output = arguments
  folder = pathlib.Path(output)
  try:
    result, optimized = compile_text(
        pathlib.Path(source).read_text(), topology_name)
    (folder / OPTIMIZED_FILE).write_text(optimized)
  except Exception as error:  # pylint: disable=broad-except
    # Handed to the process that asked, which makes one line of it.
    result = {'error': str(error) or type(error).__name__}
  (folder / RESULT_FILE).write_text(json.dumps(result))


if __name__ == '__main__':
  main(sys.argv[1:])
