"""One optimizer a stage: Model Garden's, with a learning rate that restarts.

CompoundGrow, appendix A: AdamW, "at the start of each progressive training
stage, the learning rate is reset to 0.0001 and keeps decaying as the original
schedule", that is linearly to zero at the end of the *run*.
"""

import dataclasses

from official.modeling.optimization import lamb
from official.modeling.optimization import legacy_adamw
import tensorflow as tf
import tf_keras

from official_ext.training import exact_continuation
from official_ext.training.config_fields import CHOICES

OPTIMIZERS = CHOICES['optimizer']
# Biases and LayerNorms, under the names that Model Garden gives them.
NOT_DECAYED = ('LayerNorm', 'layer_norm', 'bias')


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOptimizer:
  """Makes the optimizer of a stage.

  Attributes:
    num_steps: steps of the whole run; the learning rate is zero at its end.
    name: 'adamw' or 'lamb'.
    peak_learning_rate: learning rate at the start of every stage.
    warmup_steps: linear warm-up at the start of the run.
    growth_warmup_steps: linear warm-up at the start of every later stage; the
      paper has none.
    weight_decay_rate: decoupled weight decay, not applied to `NOT_DECAYED`.
    beta_1: decay of the first moment.
    beta_2: decay of the second moment.
    epsilon: added to the root of the second moment.
  """

  num_steps: int
  name: str = 'adamw'
  peak_learning_rate: float = 1e-4
  warmup_steps: int = 0
  growth_warmup_steps: int = 0
  weight_decay_rate: float = 0.01
  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-6

  def __post_init__(self):
    if self.name not in OPTIMIZERS:
      raise ValueError(
          f'optimizer is {self.name!r}; expected one of '
          f'{", ".join(OPTIMIZERS)}.')

  def learning_rate(self, start_step: int, first_iteration: int
                    ) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of the stage that begins at `start_step`.

    Args:
      start_step: first step of the stage within the run.
      first_iteration: what the optimizer's own counter says at that step.
    """
    warmup_steps = (
        self.growth_warmup_steps if start_step else self.warmup_steps)
    return _WarmupAndDecay(
        self.peak_learning_rate, warmup_steps, self.num_steps - start_step,
        first_iteration)

  def __call__(self, start_step: int = 0, first_iteration: int = 0, *,
               scales_steps: bool = False
               ) -> tf_keras.optimizers.legacy.Optimizer:
    """A fresh optimizer for the stage that begins at `start_step`.

    Args:
      start_step: first step of the stage within the run.
      first_iteration: what the optimizer's own counter says at that step.
      scales_steps: whether the step of each weight can be scaled, see
        `exact_continuation`; AdamW only.

    Raises:
      ValueError: LAMB is to scale its steps.
    """
    if scales_steps and self.name != 'adamw':
      raise ValueError(
          f'optimizer is {self.name!r}, whose steps cannot be scaled; give '
          "'adamw'.")
    if scales_steps:
      make = exact_continuation.ContinuingAdamWeightDecay
    elif self.name == 'adamw':
      make = legacy_adamw.AdamWeightDecay
    else:
      make = lamb.LAMB
    return make(
        learning_rate=self.learning_rate(start_step, first_iteration),
        weight_decay_rate=self.weight_decay_rate,
        beta_1=self.beta_1,
        beta_2=self.beta_2,
        epsilon=self.epsilon,
        exclude_from_weight_decay=list(NOT_DECAYED))


class _WarmupAndDecay(tf_keras.optimizers.schedules.LearningRateSchedule):
  """Linear warm-up to the peak, linear decay to zero, counted from a start.

  Model Garden's own pieces can be shifted only separately: its polynomial
  decay takes an offset and its warm-up does not.
  """

  def __init__(self, peak: float, warmup_steps: int, decay_steps: int,
               first_iteration: int):
    super().__init__()
    self._config = {
        'peak': peak, 'warmup_steps': warmup_steps,
        'decay_steps': decay_steps, 'first_iteration': first_iteration}

  def __call__(self, iteration):
    peak = tf.constant(self._config['peak'], tf.float32)
    step = tf.cast(iteration - self._config['first_iteration'], tf.float32)
    rate = peak * tf.maximum(
        0., 1. - step / tf.cast(self._config['decay_steps'], tf.float32))
    warmup_steps = self._config['warmup_steps']
    if warmup_steps:
      rate = tf.where(step < warmup_steps, peak * step / warmup_steps, rate)
    return rate

  def get_config(self):
    return dict(self._config)
