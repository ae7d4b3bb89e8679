"""Says what a run will cost, stage by stage, before a device is booked.

  python -m official_ext.plan --gin_file=experiments/compound_grow_base.gin \\
      --tpu_topology=v3:8x8

Needs neither data nor an accelerator; with a topology the step of each stage is
compiled for it, if jax and libtpu are there. Compares with a baseline: with
--baseline_gin_file that run, otherwise as many steps of the whole model.
"""

import json
import os
import sys

from absl import flags

from official_ext.command import run_command

_GIN_FILE = flags.DEFINE_multi_string(
    'gin_file', [], 'Configuration files, in order; the last one wins. Looked '
    'for here, then among the files that come with the package.')
_GIN_PARAMS = flags.DEFINE_multi_string(
    'gin_params', [], "Single settings that override the files, such as "
    "'train.num_steps = 1000'.")
_BASELINE_GIN_FILE = flags.DEFINE_multi_string(
    'baseline_gin_file', [], 'Configuration of the run to compare with; '
    '--gin_params do not apply to it.')
_TPU_TOPOLOGY = flags.DEFINE_string(
    'tpu_topology', None, 'Chips to estimate times and memory for, such as '
    'v3:8x8 or v5e:4x4.')
_NUM_CORES = flags.DEFINE_integer(
    'num_cores', None, 'Devices that share a batch; those of --tpu_topology if '
    'not given.', lower_bound=1)
_UTILIZATION = flags.DEFINE_float(
    'utilization', 0.4, "Share of the chips' peak that the time estimates "
    'assume; 0.4 is usual for large Transformers.')
_PREFLIGHT = flags.DEFINE_bool(
    'preflight', True, 'With --tpu_topology, compile the training step of each '
    'stage with the TPU compiler, here, without a TPU: minutes for each stage, '
    'once. Otherwise times are FLOPs at --utilization.')
_CACHE_DIR = flags.DEFINE_string(
    'cache_dir', None, 'Where what was compiled is kept; '
    '$XDG_CACHE_HOME/official_ext/preflight or its like in ~/.cache if not '
    'given.')
_TPU_PYTHON = flags.DEFINE_string(
    'tpu_python', None, 'Python of an environment with jax and libtpu, if that '
    'is another one; $OFFICIAL_EXT_TPU_PYTHON too says it.')
_EXECUTE = flags.DEFINE_bool(
    'execute', False, 'Also execute the same programs on a GPU or TPU of this '
    'machine, through JAX, and show how long they take. Where JAX finds none, a '
    'line says so.')
_WRITE_STABLEHLO = flags.DEFINE_string(
    'write_stablehlo', None, 'New directory for the programs of the plan and its '
    'baseline; `python -m official_ext.analysis.preflight.execute` times them on '
    'another machine, which needs jax and NumPy only.')
_JSON = flags.DEFINE_bool('json', False, 'Print JSON for machines.')


def main() -> None:
  """Plans, and prints."""
  # Imported here so that --help comes at once.
  import pathlib
  import tempfile

  from official_ext import configuration
  from official_ext.analysis import cost_plan
  from official_ext.analysis import cost_table
  from official_ext.analysis.accelerators import Topology
  from official_ext.analysis.preflight import execute
  from official_ext.analysis.preflight import stablehlo_folder

  topology = _TPU_TOPOLOGY.value and Topology.parse(_TPU_TOPOLOGY.value)
  if _WRITE_STABLEHLO.value:
    stablehlo_folder.check_directory(pathlib.Path(_WRITE_STABLEHLO.value))

  def read(gin_files, gin_params=()):
    config, _ = configuration.load_config(
        gin_files, gin_params, require_directories=False)
    return config

  def plan_of(config, compiler=None):
    return cost_plan.make_plan(
        config, num_cores=_NUM_CORES.value, topology=topology or None,
        utilization=_UTILIZATION.value, compiler=compiler)

  config = read(_GIN_FILE.value, _GIN_PARAMS.value)
  baseline_config = (read(_BASELINE_GIN_FILE.value)
                     if _BASELINE_GIN_FILE.value else config)
  for line in _differences(config, baseline_config):
    _say(f'warning: {line}')
  # What is wrong with either is to be told before minutes of compiling.
  plan, baseline = plan_of(config), plan_of(baseline_config)
  if topology and _PREFLIGHT.value:
    compiler = _compiler()
    plan = plan_of(config, compiler)
    if _BASELINE_GIN_FILE.value:
      baseline = plan_of(baseline_config, compiler)
  if not _BASELINE_GIN_FILE.value:
    baseline = cost_plan.full_model_plan(plan)
  runs = {'plan': (config, plan), 'baseline': (baseline_config, baseline)}
  executed = None
  with tempfile.TemporaryDirectory() as scratch:
    if _WRITE_STABLEHLO.value or _EXECUTE.value:
      folder = pathlib.Path(_WRITE_STABLEHLO.value or scratch)
      executed = _execute(folder, runs)
  if _JSON.value:
    values = cost_plan.to_json(plan, baseline)
    print(json.dumps(values | {'executed': executed}, indent=2))
  else:
    print(cost_table.render(
        plan, baseline,
        baseline_name=' '.join(_BASELINE_GIN_FILE.value) or None))
    if executed:
      print(f'\n{execute.render(executed)}')


def _differences(config, baseline_config):
  """What makes the speed-up more than that of a schedule, a line each."""
  names = ('architecture', 'batch_size', 'gradient_accumulation_steps',
           'num_steps', 'precision')
  for name in names:
    ours, theirs = getattr(config, name), getattr(baseline_config, name)
    if ours == theirs:
      continue
    if name == 'architecture':
      yield 'the baseline is to become another model; speed-ups are over that'
    else:
      yield (f'{name} is {theirs} in the baseline and {ours} in this run; '
             'speed-ups are over all of that, too')


def _execute(folder, runs):
  """Writes the programs, if anything is to come of them, and times them."""
  from official_ext.analysis.preflight import execution
  device = execution.find_device(_say) if _EXECUTE.value else None
  if not (_WRITE_STABLEHLO.value or device):
    return None
  from official_ext.analysis.preflight import stablehlo_folder
  stablehlo_folder.write_programs(
      folder, runs, lambda line: _say(f'stablehlo: {line}'))
  if device is None:
    return None
  _say(f'executing on {device}')
  return execution.execute_folder(folder)


def _say(line):
  print(line, file=sys.stderr, flush=True)


def _compiler():
  """The TPU compiler; None, and a line that says so, where it is missing."""
  from official_ext.analysis.preflight import estimate_cache
  from official_ext.analysis.preflight import tpu_compiler

  if _CACHE_DIR.value:
    try:
      os.makedirs(_CACHE_DIR.value, exist_ok=True)
    except OSError as error:
      raise ValueError(
          f'--cache_dir {_CACHE_DIR.value} cannot be made ({error.strerror}); '
          'give another') from error
  try:
    return tpu_compiler.TpuCompiler(
        estimate_cache.EstimateCache(_CACHE_DIR.value), _TPU_PYTHON.value,
        lambda line: _say(f'preflight: {line}'))
  except tpu_compiler.MissingCompilerError as error:
    if _TPU_PYTHON.value:
      raise ValueError(f'--tpu_python: {error}') from error
    _say(f'warning: no preflight, times are FLOPs at --utilization: {error}')
    return None


if __name__ == '__main__':
  run_command(main)
