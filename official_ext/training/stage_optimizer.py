"""One optimizer per stage: Model Garden's, with a learning rate that may restart.

CompoundGrow, appendix A: AdamW, "at the start of each progressive training
stage, the learning rate is reset to 0.0001 and keeps decaying as the original
schedule", that is linearly to zero at the end of the *run*. The authors'
released code does something else, see `restart` below.
"""

import dataclasses
import math

from official.modeling.optimization import lamb
from official.modeling.optimization import legacy_adamw
import tensorflow as tf
import tf_keras

from official_ext.training import exact_continuation
from official_ext.training.config_fields import CHOICES

OPTIMIZERS = CHOICES['optimizer']
SCHEDULES = CHOICES['learning_rate_schedule']
RESTARTS = CHOICES['learning_rate_restart']
# Biases and LayerNorms, under the names that Model Garden gives them.
NOT_DECAYED = ('LayerNorm', 'layer_norm', 'bias')


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOptimizer:
  """Makes the optimizer of a stage.

  Attributes:
    num_steps: steps of the whole run.
    name: 'adamw' or 'lamb'.
    peak_learning_rate: the largest learning rate.
    schedule: how the rate falls from the peak. 'linear' and 'cosine' reach zero
      at the end; 'wsd' (warm-up, stable, decay) stays at the peak and falls
      linearly to zero over the last `decay_fraction` of the run; 'constant'
      never falls.
    decay_fraction: share of `num_steps` in which 'wsd' decays.
    restart: what a growth does to the rate. 'peak' returns to the peak and
      reaches zero at the end of the run (CompoundGrow's text). 'continuous'
      goes on as if there were no growth (StackBERT's published script). 'stage'
      counts warm-up and decay within the stage, so that every stage warms up
      over `warmup_steps` and decays as if it had `num_steps` (CompoundGrow's
      released code); the rate never reaches zero.
    warmup_steps: linear warm-up at the start of the run; with 'stage', of every
      stage.
    growth_warmup_steps: linear warm-up at the start of every later stage; the
      paper has none. With 'continuous' it rises to the rate of that step.
    weight_decay_rate: decoupled weight decay, not applied to `NOT_DECAYED`.
    beta_1: decay of the first moment.
    beta_2: decay of the second moment.
    epsilon: added to the root of the second moment.
  """

  num_steps: int
  name: str = 'adamw'
  peak_learning_rate: float = 1e-4
  schedule: str = 'linear'
  decay_fraction: float = 0.1
  restart: str = 'peak'
  warmup_steps: int = 0
  growth_warmup_steps: int = 0
  weight_decay_rate: float = 0.01
  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-6

  def __post_init__(self):
    for field, value, choices in (
        ('optimizer', self.name, OPTIMIZERS),
        ('schedule', self.schedule, SCHEDULES),
        ('restart', self.restart, RESTARTS)):
      if value not in choices:
        raise ValueError(
            f'{field} is {value!r}; expected one of {", ".join(choices)}.')

  def learning_rate(self, start_step: int, first_iteration: int
                    ) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of the stage that begins at `start_step`.

    Args:
      start_step: first step of the stage within the run.
      first_iteration: what the optimizer's own counter says at that step.
    """
    is_first = not start_step
    counts_in_stage = self.restart == 'stage'
    return _WarmupAndDecay(
        peak=self.peak_learning_rate, schedule=self.schedule,
        warmup_steps=(self.warmup_steps if is_first or counts_in_stage
                      else self.growth_warmup_steps),
        decay_steps=(self.num_steps - start_step if self.restart == 'peak'
                     else self.num_steps),
        wsd_steps=max(1, round(self.decay_fraction * self.num_steps)),
        first_iteration=first_iteration,
        steps_before=start_step if self.restart == 'continuous' else 0)

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
  """Linear warm-up to the peak, then the fall that the schedule names.

  Model Garden's own pieces can be shifted only separately: its polynomial
  decay takes an offset and its warm-up does not.
  """

  def __init__(self, *, peak: float, schedule: str, warmup_steps: int,
               decay_steps: int, wsd_steps: int, first_iteration: int,
               steps_before: int):
    super().__init__()
    self._config = {
        'peak': peak, 'schedule': schedule, 'warmup_steps': warmup_steps,
        'decay_steps': decay_steps, 'wsd_steps': wsd_steps,
        'first_iteration': first_iteration, 'steps_before': steps_before}

  def __call__(self, iteration):
    config = self._config
    step = tf.cast(iteration - config['first_iteration'], tf.float32)
    rate = tf.constant(config['peak'], tf.float32) * self._share_of_peak(
        step + config['steps_before'])
    warmup_steps = config['warmup_steps']
    if warmup_steps:
      # A restart rises to the peak, a rate that only goes on to where it is.
      top = rate if config['steps_before'] else config['peak']
      rate = tf.where(step < warmup_steps, top * step / warmup_steps, rate)
    return rate

  def _share_of_peak(self, step: tf.Tensor) -> tf.Tensor:
    """The rate without warm-up, as a share of the peak."""
    schedule = self._config['schedule']
    decay_steps = tf.cast(self._config['decay_steps'], tf.float32)
    if schedule == 'constant':
      return tf.ones_like(step)
    if schedule == 'wsd':
      return tf.clip_by_value(
          (decay_steps - step) / self._config['wsd_steps'], 0., 1.)
    linear = tf.maximum(0., 1. - step / decay_steps)
    if schedule == 'cosine':
      return 0.5 - 0.5 * tf.cos(math.pi * linear)
    return linear

  def get_config(self):
    return dict(self._config)
