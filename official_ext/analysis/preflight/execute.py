"""Executes training steps on a device that JAX finds, and says how long they take.

  python -m official_ext.analysis.preflight.execute DIR

DIR is what `plan --write_stablehlo=DIR` wrote. Needs jax and NumPy and nothing
else, neither TensorFlow nor this package: copied beside DIR, this file runs by
its path on any machine with an accelerator. Weights and data are drawn at random;
of each program every step goes on with the weights of the last one. Exit code 3
where JAX finds no accelerator.
"""

import argparse
import glob
import json
import math
import os
import pathlib
import re
import statistics
import sys
import time
from typing import Any

import numpy as np

MANIFEST_FILE = 'manifest.json'
NO_DEVICE_EXIT_CODE = 3
_ACCELERATORS = ('gpu', 'tpu')
_TPU_FILES = ('/dev/accel[0-9]*', '/dev/vfio/[0-9]*')
# Keeps a libtpu that is installed for its compiler from asking for its TPU.
_NO_TPU = {'TPU_SKIP_MDS_QUERY': '1', 'TPU_WORKER_HOSTNAMES': 'localhost',
           'TPU_ACCELERATOR_TYPE': 'v3-8', 'TPU_STDERR_LOG_LEVEL': '3'}
_ALIAS = re.compile(r'parameter_number = (\d+) : i64\}, '
                    r'output_index = array<i64: (\d+)>')


def find_device(platform: str | None = None) -> Any | None:
  """JAX's first device of a platform, such as 'cpu'; by default a GPU or a TPU.

  To be called before anything else uses JAX.
  """
  if platform:
    os.environ['JAX_PLATFORMS'] = platform
  elif not any(map(glob.glob, _TPU_FILES)):
    os.environ.update(_NO_TPU)
  import jax
  for candidate in (platform,) if platform else _ACCELERATORS:
    try:
      return jax.devices(candidate)[0]
    except RuntimeError:
      # How JAX says that there is none.
      continue
  return None


def make_value(argument: dict[str, Any], seed: int) -> np.ndarray:
  """What a program is given as an argument.

  Args:
    argument: as in the manifest, see `step_arguments.Argument`.
    seed: its position, so that no two are alike.
  """
  shape, dtype = argument['shape'], np.dtype(argument['dtype'])
  generator = np.random.default_rng(seed)
  if argument['values'] is not None:
    return np.array(argument['values'], dtype).reshape(shape)
  if argument['below'] is not None:
    return generator.integers(0, argument['below'], shape, dtype)
  if not argument['std']:
    return np.full(shape, argument['mean'], dtype)
  drawn = generator.standard_normal(shape, np.float32)
  return (argument['mean'] + argument['std'] * drawn).astype(dtype)


def execute(text: str, step: dict[str, Any], device: Any, *,
            warmup_steps: int, timed_steps: int) -> dict[str, Any]:
  """Runs a program again and again.

  Args:
    text: StableHLO as MLIR text.
    step: its arguments and results, as in the manifest.
    device: of JAX.
    warmup_steps: which are not timed.
    timed_steps: which are.

  Returns:
    The seconds of each timed step, and of all steps the results by name.
  """
  import jax
  # No public way leads from StableHLO text to a program that runs.
  from jax._src.interpreters import mlir
  from jax._src.lib.mlir import ir
  from jaxlib import xla_client

  # Counters and random states have 64 bits.
  jax.config.update('jax_enable_x64', True)
  options = xla_client.CompileOptions()
  options.num_replicas = options.num_partitions = 1
  options.device_assignment = xla_client.DeviceAssignment.create(
      np.array([[device.id]]))
  with mlir.make_ir_context():
    program = device.client.compile_and_load(
        ir.Module.parse(text), xla_client.DeviceList((device,)), options)
  values = [jax.device_put(make_value(argument, position), device)
            for position, argument in enumerate(step['arguments'])]
  # Updated in place: the old value is gone once the program has run.
  updated = [(int(output), int(argument))
             for argument, output in _ALIAS.findall(text)]
  seconds, results = [], {name: [] for name in step['results']}
  for _ in range(warmup_steps + timed_steps):
    start = time.perf_counter()
    outputs = [arrays[0] for arrays in program.execute_sharded(
        values).disassemble_into_single_device_arrays()]
    jax.block_until_ready(outputs)
    seconds.append(time.perf_counter() - start)
    for name, output in zip(results, outputs):
      results[name].append(float(output))
    for output, argument in updated:
      values[argument] = outputs[output]
  return {'seconds': seconds[warmup_steps:], 'results': results}


def execute_folder(folder: pathlib.Path, device: Any, *, warmup_steps: int,
                   timed_steps: int) -> dict[str, Any]:
  """Runs all programs of a folder; JSON values, times in seconds.

  Returns:
    The device, each run's stages with median and 90th percentile of a step (of a
    stage that draws sub-models the means over its programs), its total, and by
    how much the first run is faster than the baseline.
  """
  import jax
  manifest = json.loads((folder / MANIFEST_FILE).read_text())
  executed = {
      name: execute((folder / f'{name}.mlir').read_text(), step, device,
                    warmup_steps=warmup_steps, timed_steps=timed_steps)
      for name, step in manifest['steps'].items()}

  def stage_times(stage):
    times = [executed[name]['seconds'] for name in stage['steps']]
    return {
        'stage': stage['stage'], 'num_steps': stage['num_steps'],
        'median_seconds': statistics.mean(map(statistics.median, times)),
        'p90_seconds': statistics.mean(map(_p90, times))}

  runs = {name: [stage_times(stage) for stage in stages]
          for name, stages in manifest['runs'].items()}
  totals = {
      name: sum(stage['num_steps'] * stage['median_seconds'] for stage in stages)
      for name, stages in runs.items()}
  return {
      'device': device.device_kind, 'platform': device.platform,
      'jax': jax.__version__, 'sequences': manifest['sequences'],
      'timed_steps': timed_steps, 'runs': runs, 'total_seconds': totals,
      'speedup': totals['baseline'] / totals['plan'] - 1,
      'results': {name: one['results'] for name, one in executed.items()}}


def render(executed: dict[str, Any]) -> str:
  """What `execute_folder` returned, for people."""
  lines = [
      f'Executed on one {executed["device"]} ({executed["platform"]}) by JAX '
      f'{executed["jax"]}: {executed["sequences"]} sequences a step, '
      f'{executed["timed_steps"]} steps after warm-up, no input, no all-reduce.', '',
      f'{"Measured, ms a step":30}{"steps":>10}{"median":>10}{"p90":>10}']
  for run, stages in executed['runs'].items():
    for stage in stages:
      name = stage['stage'] if run == 'plan' else f'{run}: {stage["stage"]}'
      lines.append(f'{name:30}{stage["num_steps"]:10,}'
                   f'{1e3 * stage["median_seconds"]:10.2f}'
                   f'{1e3 * stage["p90_seconds"]:10.2f}')
  lines += ['', f'Measured speed-up over the baseline on this device: '
                f'{100 * executed["speedup"]:+.1f} %']
  return '\n'.join(lines)


def _p90(seconds: list[float]) -> float:
  """The 90th percentile: the least that nine in ten do not exceed."""
  return sorted(seconds)[math.ceil(0.9 * len(seconds)) - 1]


def main(arguments: list[str]) -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('folder', type=pathlib.Path, nargs='?', metavar='DIR')
  parser.add_argument('--platform', help='of JAX, such as cpu; default: a GPU or '
                      'a TPU')
  parser.add_argument('--warmup_steps', type=int, default=3)
  parser.add_argument('--timed_steps', type=int, default=20)
  parser.add_argument('--json', action='store_true', help='for machines')
  flags = parser.parse_args(arguments)
  device = find_device(flags.platform)
  if device is None:
    print(f'not executed: JAX finds no {flags.platform or "GPU or TPU"} here',
          file=sys.stderr)
    return NO_DEVICE_EXIT_CODE
  if flags.folder is None:
    print(device.device_kind)
    return 0
  executed = execute_folder(flags.folder, device, warmup_steps=flags.warmup_steps,
                            timed_steps=flags.timed_steps)
  print(json.dumps(executed, indent=2) if flags.json else render(executed))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
