"""A stage's training step, compiled for a TPU that is not there."""

from official_ext.analysis import flops
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight.all_reduce import all_reduce_seconds
from official_ext.analysis.preflight.stage_estimate import StageEstimate
from official_ext.analysis.preflight.step_program import step_programs
from official_ext.analysis.preflight.tpu_compiler import TpuCompiler
from official_ext.schedules import ResolvedStage
from official_ext.training.run_config import PretrainConfig


def preflight(
    compiler: TpuCompiler, config: PretrainConfig, stage: ResolvedStage,
    topology: Topology, *, num_cores: int, num_predictions: int
) -> StageEstimate:
  """Compiles what a stage runs on one core, and estimates the rest.

  Args:
    compiler: with its cache.
    config: the run.
    stage: one of its stages.
    topology: the chips.
    num_cores: that share a batch.
    num_predictions: masked tokens a sequence of the stage has room for.
  """
  programs = step_programs(
      config, stage, sequences=config.batch_size // num_cores,
      num_predictions=num_predictions)
  # Frozen weights have gradients as well: fewer are sent than is said here.
  num_values = flops.parameter_count(
      stage.architecture, has_next_sentence=config.use_next_sentence)
  return StageEstimate(
      tuple(compiler.estimate(program, topology) for program in programs),
      topology.chip, all_reduce_seconds(num_values, topology, num_cores))
