"""Writes the programs of runs for `execute`, which knows no TensorFlow."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import pathlib
from typing import Any

from official_ext.analysis.cost_plan import CostPlan
from official_ext.analysis.cost_plan import stage_predictions
from official_ext.analysis.preflight import execute
from official_ext.analysis.preflight import stablehlo_text
from official_ext.analysis.preflight.estimate_cache import digest
from official_ext.analysis.preflight.step_program import step_programs
from official_ext.analysis.preflight.step_program import StepProgram
from official_ext.training.run_config import PretrainConfig


def check_directory(directory: pathlib.Path) -> None:
  """Refuses to write where something is.

  Raises:
    ValueError: the directory is not empty, or no directory.
  """
  if directory.exists() and (
      not directory.is_dir() or any(directory.iterdir())):
    raise ValueError(f'write_stablehlo is {str(directory)!r}, which is not empty; '
                     'give a new or an empty directory.')


def write_programs(
    directory: pathlib.Path,
    runs: Mapping[str, tuple[PretrainConfig, CostPlan]],
    say: Callable[[str], None] = lambda line: None) -> None:
  """Writes each different program of some runs once, and a manifest.

  Args:
    directory: empty, or not there yet.
    runs: 'plan' and 'baseline'.
    say: told what is about to take a while.

  Raises:
    ValueError: the directory is not empty.
    LoweringError: a step is no static program.
  """
  check_directory(directory)
  directory.mkdir(parents=True, exist_ok=True)
  steps = {}
  manifest = {
      'sequences': runs['plan'][1].sequences_per_core,
      'runs': {name: [
          {'stage': stage.stage.name, 'num_steps': stage.num_steps,
           'steps': [
               _write_once(directory, program, steps, say)
               for program in _programs(config, plan, stage.stage)]}
          for stage in plan.stages] for name, (config, plan) in runs.items()},
      'steps': steps}
  (directory / execute.MANIFEST_FILE).write_text(json.dumps(manifest, indent=1))


def _programs(config, plan, stage) -> Sequence[StepProgram]:
  return step_programs(
      config, stage, sequences=plan.sequences_per_core,
      num_predictions=stage_predictions(config, stage))


def _write_once(directory: pathlib.Path, program: StepProgram,
                steps: dict[str, Any], say: Callable[[str], None]) -> str:
  """Writes a program unless it is there; its name."""
  # Imported here: it brings TensorFlow.
  from official_ext.analysis.preflight import lowering
  name = digest(dataclasses.asdict(program))
  if name not in steps:
    say('tracing a step of '
        f'{program.num_layers or program.architecture.num_layers} layers')
    lowered = lowering.lower(program)
    (directory / f'{name}.mlir').write_text(
        stablehlo_text.for_newer_parsers(lowered.text))
    steps[name] = {
        'arguments': [dataclasses.asdict(each) for each in lowered.arguments],
        'results': lowered.results}
  return name
