"""Which programs the training steps of a stage are, as plain data.

Two steps with equal values here are the same program to a compiler. What only
changes a constant in it (seeds, the learning rate, the number of steps) is left
out, so that the stages of several runs share what was compiled once.
"""

import dataclasses

from official_ext.growth.architecture import Architecture
from official_ext.schedules import ResolvedStage
from official_ext.training.run_config import PretrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepProgram:
  """One training step on one core: forward, backward, clipping, optimizer.

  Attributes:
    architecture: the model of the stage, treatments included.
    num_layers: blocks from the bottom that are run; None means all.
    trained_layers: blocks from the top of these that are updated; None means
      all, and the embeddings.
    sequences: on the core.
    gradient_accumulation_steps: micro-batches that these are split into.
    num_predictions: masked tokens a sequence has room for.
    precision: 'float32' or 'mixed_bfloat16'.
    optimizer: 'adamw' or 'lamb'.
    weight_decay_rate: decoupled weight decay.
    has_warmup: whether the learning rate warms up.
    clips_gradients: whether their global norm is limited.
    output_dropout: dropout rate of each block's outputs.
    attention_dropout: dropout rate of the attention probabilities.
    query_pool_type: 'mean' or 'max'.
    use_next_sentence: whether the next-sentence head is there.
  """

  architecture: Architecture
  num_layers: int | None
  trained_layers: int | None
  sequences: int
  gradient_accumulation_steps: int = 1
  num_predictions: int
  precision: str
  optimizer: str
  weight_decay_rate: float
  has_warmup: bool
  clips_gradients: bool
  output_dropout: float
  attention_dropout: float
  query_pool_type: str
  use_next_sentence: bool


def step_programs(
    config: PretrainConfig, stage: ResolvedStage, *, sequences: int,
    num_predictions: int) -> tuple[StepProgram, ...]:
  """The programs of a stage, which are run equally often.

  One, or where every step draws a sub-model one for each depth. A run that
  continues an optimizer exactly, which is a test mode, is taken for one with
  the plain optimizer.

  Args:
    config: the run.
    stage: one of its stages.
    sequences: on one core.
    num_predictions: masked tokens a sequence of the stage has room for.
  """
  warmup_steps = (
      config.growth_warmup_steps if stage.start_step else config.warmup_steps)
  whole = StepProgram(
      architecture=stage.architecture, num_layers=None,
      trained_layers=stage.trained_layers, sequences=sequences,
      gradient_accumulation_steps=config.gradient_accumulation_steps,
      num_predictions=num_predictions, precision=config.precision,
      optimizer=config.optimizer, weight_decay_rate=config.weight_decay_rate,
      has_warmup=warmup_steps > 0,
      clips_gradients=config.gradient_clip_norm > 0,
      output_dropout=config.output_dropout,
      attention_dropout=config.attention_dropout,
      query_pool_type=config.query_pool_type,
      use_next_sentence=config.use_next_sentence)
  part = stage.sub_model_layers
  if part is None:
    return (whole,)
  return tuple(
      dataclasses.replace(whole, num_layers=depth, trained_layers=part)
      for depth in range(part, stage.architecture.num_layers + 1, part))
