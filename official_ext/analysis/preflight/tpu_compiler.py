"""Runs `tpu_compile` in a process of its own, once for each program."""

from collections.abc import Callable
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight import compiled_step
from official_ext.analysis.preflight import stablehlo_text
from official_ext.analysis.preflight import tpu_compile
from official_ext.analysis.preflight.compiled_step import CompiledStep
from official_ext.analysis.preflight.estimate_cache import digest
from official_ext.analysis.preflight.estimate_cache import EstimateCache
from official_ext.analysis.preflight.estimate_cache import tracing_versions
from official_ext.analysis.preflight.step_program import StepProgram

PYTHON_VARIABLE = 'OFFICIAL_EXT_TPU_PYTHON'
_SCRIPT = tpu_compile.__file__
_PROGRAMS, _STABLEHLO, _OPTIMIZED, _RESULTS = (
    'programs', 'stablehlo', 'optimized', 'results')

_ENDED = 'the TPU compiler ended'
# What the machine did to it, not the program: not kept.
_PASSING = (_ENDED, 'ABORTED', 'UNAVAILABLE', 'CANCELLED')


class MissingCompilerError(ImportError):
  """jax and libtpu are not installed."""


class TpuCompiler:
  """The TPU compiler of jax and libtpu, behind a cache.

  Args:
    cache: where its answers are kept.
    python: interpreter of an environment with jax and libtpu; None means
      $OFFICIAL_EXT_TPU_PYTHON, or else the one that runs. Either way the compiler
      gets a process of its own: jax and TensorFlow each bring an XLA.
    say: told what is about to take a while.

  Raises:
    MissingCompilerError: that environment lacks jax or libtpu.
  """

  def __init__(self, cache: EstimateCache, python: str | None = None,
               say: Callable[[str], None] = lambda line: None):
    self._cache = cache
    self._python = python or os.environ.get(PYTHON_VARIABLE) or sys.executable
    self._say = say
    self._versions = self._find_versions()

  def estimate(self, program: StepProgram, topology: Topology) -> CompiledStep:
    """Lowers and compiles a program, or remembers what came of it.

    Args:
      program: the step.
      topology: only its kind of chip matters: one core's program is compiled.
    """
    target = topology.chip.smallest_topology
    traced = digest(_values(program), tracing_versions())
    name = digest(traced, target, self._versions)
    known = self._cache.read(_PROGRAMS, name)
    if known is not None:
      return CompiledStep(**known)
    step, is_lasting = self._estimate(program, target, traced)
    if is_lasting:
      self._cache.write(_PROGRAMS, name, vars(step))
    return step

  def _estimate(self, program, target: str, traced: str
                ) -> tuple[CompiledStep, bool]:
    """What comes of a program, and whether it would come of it again."""
    depth = program.num_layers or program.architecture.num_layers
    text = self._cache.read_text(_STABLEHLO, traced)
    if text is None:
      self._say(f'tracing a step of {depth} layers')
      # Imported here: what is remembered needs no TensorFlow.
      from official_ext.analysis.preflight import lowering
      try:
        text = stablehlo_text.for_newer_parsers(lowering.lower(program).text)
      except lowering.LoweringError as error:
        return compiled_step.failed(str(error), error.operation), True
      self._cache.write_text(_STABLEHLO, traced, text)
    self._say(f'compiling a step of {depth} layers for TPU {target}')
    result, optimized = self.compile(text, target)
    micro_batches = program.gradient_accumulation_steps
    step = compiled_step.from_compiler(
        result, optimized, stablehlo_text.product_flops(text, micro_batches),
        micro_batches)
    return step, not _is_passing(result)

  def compile(self, text: str, target: str) -> tuple[dict, str | None]:
    """Compiles StableHLO text, or remembers the answer.

    Args:
      text: as `stablehlo_text.for_newer_parsers` returns it.
      target: name of a topology.

    Returns:
      What `tpu_compile` wrote: its result, and the optimised HLO if there is.
    """
    name = digest(text, target, self._versions)
    result = self._cache.read(_RESULTS, name)
    optimized = self._cache.read_text(_OPTIMIZED, name)
    if result is None or ('error' not in result and optimized is None):
      result, optimized = self._run(text, target)
      if optimized is not None:
        self._cache.write_text(_OPTIMIZED, name, optimized)
      if not _is_passing(result):
        self._cache.write(_RESULTS, name, result)
    return result, optimized

  def _run(self, text: str, target: str) -> tuple[dict, str | None]:
    with tempfile.TemporaryDirectory() as folder:
      source = pathlib.Path(folder) / 'step.mlir'
      source.write_text(text)
      done = self._call(str(source), target, folder)
      result = pathlib.Path(folder) / tpu_compile.RESULT_FILE
      optimized = pathlib.Path(folder) / tpu_compile.OPTIMIZED_FILE
      if not result.exists():
        # The compiler ends its process where it finds its own fault.
        last = done.stderr.strip().splitlines()[-1:] or ['no message']
        return {'error': f'{_ENDED} with {done.returncode}: {last[0]}'}, None
      return (json.loads(result.read_text()),
              optimized.read_text() if optimized.exists() else None)

  def _find_versions(self) -> dict[str, str]:
    if self._python == sys.executable:
      found = tpu_compile.versions()
    else:
      try:
        found = json.loads(self._call('--versions').stdout or '{}')
      except OSError as error:
        raise MissingCompilerError(
            f'{self._python} cannot be run ({error.strerror}); give the Python '
            'of an environment with jax and libtpu.') from error
    missing = [name for name in tpu_compile.PACKAGES if name not in found]
    if missing:
      raise MissingCompilerError(
          f'{" and ".join(missing)} not found beside {self._python}; install '
          "them: pip install 'official-ext[tpu-preflight]'")
    return found

  def _call(self, *arguments: str) -> subprocess.CompletedProcess:
    environ = dict(os.environ)
    if self._python != sys.executable:
      # What is beside this Python is not for another one.
      environ.pop('PYTHONPATH', None)
    # -P: the folder of the script, this package's, is not to be searched.
    return subprocess.run(
        [self._python, '-P', _SCRIPT, *arguments], capture_output=True,
        text=True, check=False, env=environ)


def _values(program: StepProgram) -> dict:
  return vars(program) | {'architecture': vars(program.architecture)}


def _is_passing(result: dict) -> bool:
  return result.get('error', '').startswith(_PASSING)
