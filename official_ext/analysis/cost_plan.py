"""What a run will cost, stage by stage, before it is started."""

from collections.abc import Collection
import dataclasses
from typing import Any

from official_ext.analysis import flops
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.memory import estimate_memory
from official_ext.analysis.memory import MemoryEstimate
from official_ext.analysis.preflight.preflight import preflight
from official_ext.analysis.preflight.stage_estimate import StageEstimate
from official_ext.analysis.preflight.tpu_compiler import TpuCompiler
from official_ext.schedules import ResolvedStage
from official_ext.training.run_config import PretrainConfig

# Of a chip's peak; large Transformers are reported between 0.3 and 0.6.
DEFAULT_UTILIZATION = 0.4
_VALUE_BYTES = {'float32': 4, 'mixed_bfloat16': 2}


@dataclasses.dataclass(frozen=True)
class StagePlan:
  """One stage.

  Attributes:
    stage: the resolved stage.
    query_length: tokens a sequence after layer 0.
    parameters: weights of the model.
    forward_flops: of one step's forward pass, whole batch.
    train_flops: of one training step, whole batch.
    memory: on one core, an estimate.
    step_seconds: an estimate, the compiler's if there is one; None without a
      kind of chip.
    compiled: what the TPU compiler says; None if it was not asked.
  """

  stage: ResolvedStage
  query_length: int
  parameters: int
  forward_flops: int
  train_flops: int
  memory: MemoryEstimate
  step_seconds: float | None
  compiled: StageEstimate | None = None

  @property
  def num_steps(self) -> int:
    return self.stage.num_steps

  @property
  def memory_bytes(self) -> int:
    """On one core: as compiled, or else from shapes."""
    if self.compiled and not self.compiled.error:
      return self.compiled.memory_bytes
    return self.memory.total

  @property
  def hours(self) -> float | None:
    return (None if self.step_seconds is None
            else self.num_steps * self.step_seconds / 3600)


@dataclasses.dataclass(frozen=True)
class CostPlan:
  """A run.

  Attributes:
    stages: in order.
    num_cores: devices.
    sequences_per_core: of a step.
    gradient_accumulation_steps: micro-batches that these are split into.
    topology: the slice of chips, if one is named.
    utilization: share of the peak that step times assume.
  """

  stages: tuple[StagePlan, ...]
  num_cores: int
  sequences_per_core: int
  gradient_accumulation_steps: int
  topology: Topology | None
  utilization: float

  @property
  def num_steps(self) -> int:
    return sum(stage.num_steps for stage in self.stages)

  @property
  def forward_flops(self) -> int:
    return sum(s.num_steps * s.forward_flops for s in self.stages)

  @property
  def train_flops(self) -> int:
    return sum(s.num_steps * s.train_flops for s in self.stages)

  @property
  def is_compiled(self) -> bool:
    """Whether the compiler was asked."""
    return any(stage.compiled for stage in self.stages)

  @property
  def hours(self) -> float | None:
    hours = [stage.hours for stage in self.stages]
    return None if None in hours else sum(hours)


@dataclasses.dataclass(frozen=True)
class Savings:
  """How much cheaper a run is than a baseline; 1.07 is +107 %.

  Attributes:
    forward_flops: by forward passes, as the papers count.
    train_flops: by training steps.
    walltime: by estimated step times; None without them.
  """

  forward_flops: float
  train_flops: float
  walltime: float | None


def make_plan(config: PretrainConfig, *, num_cores: int | None = None,
              topology: Topology | None = None,
              utilization: float = DEFAULT_UTILIZATION,
              compiler: TpuCompiler | None = None) -> CostPlan:
  """Plans a run.

  Args:
    config: the run; its mistakes must have been looked for before.
    num_cores: devices; None means the topology's, or the configuration's.
    topology: the slice of chips that step times are estimated for.
    utilization: share of the peak that is assumed to be reached.
    compiler: estimates times and memory for the topology; None goes by shapes.

  Raises:
    ValueError: the batch cannot be shared among the cores, or the utilization
      is no share.
  """
  if not 0 < utilization <= 1:
    raise ValueError(
        f'utilization is {utilization}; give a number above 0 and at most 1.')
  num_cores = (num_cores or (topology.num_cores if topology else None)
               or config.num_replicas or 1)
  problem = config.division_problem(num_cores, 'cores')
  if problem:
    raise ValueError(f'{problem}.')
  stages = tuple(
      _plan_stage(config, stage, config.batch_size // num_cores, num_cores,
                  topology, utilization, compiler)
      for stage in config.resolve())
  return CostPlan(stages, num_cores, config.batch_size // num_cores,
                  config.gradient_accumulation_steps, topology, utilization)


def savings(plan: CostPlan, baseline: CostPlan) -> Savings:
  """How much cheaper `plan` is than `baseline`."""
  walltime = None
  if plan.hours is not None and baseline.hours is not None:
    walltime = baseline.hours / plan.hours - 1
  return Savings(baseline.forward_flops / plan.forward_flops - 1,
                 baseline.train_flops / plan.train_flops - 1, walltime)


def full_model_plan(plan: CostPlan) -> CostPlan:
  """The baseline of a plan: its last stage's model at every step."""
  last = plan.stages[-1]
  stage = dataclasses.replace(
      last.stage, index=0, start_step=0, end_step=plan.num_steps)
  return dataclasses.replace(
      plan, stages=(dataclasses.replace(last, stage=stage),))


def stage_predictions(config: PretrainConfig, stage: ResolvedStage) -> int:
  """Masked tokens a sequence of a stage, before its data is there.

  Shorter sequences have proportionally fewer predictions. As in BERT, which
  masks 15 % of the tokens, the whole length is taken to be rounded down and a
  shorter one is rounded up: 76 of 512 tokens, 20 of 128.
  """
  length = stage.architecture.sequence_length
  whole = config.architecture.sequence_length
  if length == whole:
    return config.num_predictions
  return min(length, config.num_predictions * length // whole + 1)


def _plan_stage(config, stage, sequences, num_cores, topology, utilization,
                compiler) -> StagePlan:
  predictions = stage_predictions(config, stage)
  counted = dict(has_next_sentence=config.use_next_sentence)
  train_flops = flops.stage_train_flops(
      stage, predictions, config.batch_size, **counted)
  step_seconds = compiled = None
  if topology is not None:
    step_seconds = train_flops / (
        num_cores * topology.chip.core_flops * utilization)
    if compiler is not None:
      compiled = preflight(
          compiler, config, stage, topology, num_cores=num_cores,
          num_predictions=predictions)
      step_seconds = None if compiled.error else compiled.step_seconds
  return StagePlan(
      stage=stage,
      query_length=stage.architecture.query_length(predictions),
      parameters=flops.parameter_count(stage.architecture, **counted),
      forward_flops=flops.stage_forward_flops(
          stage, predictions, config.batch_size, **counted),
      train_flops=train_flops,
      memory=estimate_memory(
          stage, predictions, sequences,
          gradient_accumulation_steps=config.gradient_accumulation_steps,
          value_bytes=_VALUE_BYTES[config.precision], **counted),
      step_seconds=step_seconds, compiled=compiled)


def walltime_speedup(plan: CostPlan, baseline: CostPlan,
                     without: Collection[str] = ()) -> float | None:
  """How much faster a plan is by the compiler's estimate; 0.74 is +74 %.

  Args:
    plan: the run.
    baseline: what it is compared with.
    without: groups of operations that are left out of both, see
      `StageEstimate.seconds`.

  Returns:
    None where a stage was not compiled, or does not compile.
  """
  def total(of):
    seconds = [
        stage.num_steps * stage.compiled.step_seconds_without(without)
        if stage.compiled and not stage.compiled.error else None
        for stage in of.stages]
    return None if None in seconds else sum(seconds)

  spent, baseline_spent = total(plan), total(baseline)
  return (None if spent is None or baseline_spent is None
          else baseline_spent / spent - 1)


def to_json(plan: CostPlan, baseline: CostPlan) -> dict[str, Any]:
  """The plan as JSON values; sizes in bytes, times in seconds and hours."""
  def stage_values(stage: StagePlan) -> dict[str, Any]:
    architecture = stage.stage.architecture
    return {
        'name': stage.stage.name, 'steps': stage.num_steps,
        'num_layers': architecture.num_layers,
        'hidden_size': architecture.hidden_size,
        'inner_size': architecture.stored_inner_size,
        'sequence_length': architecture.sequence_length,
        'query_length': stage.query_length, 'parameters': stage.parameters,
        'trained_part': stage.stage.trained_part,
        'forward_flops': stage.forward_flops, 'train_flops': stage.train_flops,
        'memory_bytes': dataclasses.asdict(stage.memory) | {
            'total': stage.memory.total},
        'step_seconds': stage.step_seconds, 'hours': stage.hours,
        'compiled': stage.compiled and stage.compiled.to_json()}

  def totals(of: CostPlan) -> dict[str, Any]:
    return {'steps': of.num_steps, 'forward_flops': of.forward_flops,
            'train_flops': of.train_flops, 'hours': of.hours}

  topology = plan.topology
  return {
      'stages': [stage_values(stage) for stage in plan.stages],
      'totals': totals(plan), 'baseline': totals(baseline),
      'speedup': dataclasses.asdict(savings(plan, baseline)),
      'num_cores': plan.num_cores,
      'sequences_per_core': plan.sequences_per_core,
      'gradient_accumulation_steps': plan.gradient_accumulation_steps,
      'chip': topology and topology.chip.name,
      'utilization': (
          plan.utilization if topology and not plan.is_compiled else None)}

