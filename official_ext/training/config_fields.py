"""The type and range of every field of a run's configuration."""

from collections.abc import Mapping
import math
from typing import Any

from official_ext.growth.architecture import Architecture
from official_ext.mistakes import did_you_mean
from official_ext.schedules import GrowthSchedule

# The values that each choice may have.
CHOICES = {
    'optimizer': ('adamw', 'lamb'),
    'learning_rate_schedule': ('linear', 'cosine', 'wsd', 'constant'),
    'learning_rate_restart': ('peak', 'continuous', 'stage'),
    'position_initializer': ('normal', 'sinusoidal'),
    'optimizer_growth': ('reset', 'transfer', 'continue'),
    'masking': ('static', 'dynamic'),
    'query_pool_type': ('mean', 'max'),
    'precision': ('float32', 'mixed_bfloat16'),
    'strategy': ('one_device', 'mirrored', 'multi_worker', 'tpu'),
}


def field_mistakes(values: Mapping[str, Any]) -> list[str]:
  """Lists the fields of a PretrainConfig whose own type or range is wrong.

  Args:
    values: some or all of the fields, by name. Those that are not there are
      not checked, so that a configuration with other mistakes can be.

  Returns:
    One line for each, starting with the field's name.
  """
  found = []
  for name, value in values.items():
    problem = _FIELD_CHECKS[name](value)
    if problem:
      found.append(f'{name} is {problem}')
  for name, choices in CHOICES.items():
    value = values.get(name, choices[0])
    if value not in choices:
      found.append(
          f'{name} is {value!r}, not one of {", ".join(map(repr, choices))}'
          + (did_you_mean(value, choices) if isinstance(value, str) else ''))
  return found


def _whole(least: int, optional: bool = False):
  def check(value):
    if optional and value is None:
      return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
      return None
    if isinstance(value, float) and value.is_integer() and value >= least:
      return f'{value!r}; write it as a whole number: {int(value)}'
    return f'{value!r}; give a whole number of at least {least}'
  return check


def _number(least: float, below: float | None = None, *, exclusive=False,
            optional=False):
  def check(value):
    if optional and value is None:
      return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and (
        value > least if exclusive else value >= least) and (
            below is None or value < below):
      return None
    wanted = f'{"above" if exclusive else "at least"} {least:g}'
    if below is not None:
      wanted += f' and below {below:g}'
    return f'{value!r}; give a number {wanted}'
  return check


def _truth(value):
  return None if isinstance(value, bool) else f'{value!r}; give True or False'


def _text(value):
  return None if isinstance(value, str) else f'{value!r}; give a quoted string'


def _path(value):
  if value is None or isinstance(value, str):
    return None
  return f'{value!r}; give a path as a quoted string'


def _paths(value):
  if isinstance(value, (list, tuple)) and all(
      isinstance(path, str) for path in value):
    return None
  return f'{value!r}; give a list of paths as quoted strings'


def _architecture(value):
  if isinstance(value, Architecture):
    return None
  return f'{value!r}; give an Architecture (in gin: @model())'


def _schedule(value):
  if isinstance(value, GrowthSchedule):
    return None
  return f'{value!r}; give a GrowthSchedule (in gin: @compound_grow())'


def _choice(value):
  # CHOICES is checked for all of them in one place, with a suggestion.
  del value


_FIELD_CHECKS = {
    'architecture': _architecture,
    'schedule': _schedule,
    'num_steps': _whole(1),
    'batch_size': _whole(1),
    'gradient_accumulation_steps': _whole(1),
    'model_dir': _path,
    'data_dir': _path,
    'init_checkpoint': _path,
    'stage_data_dirs': _paths,
    'num_predictions': _whole(0),
    'masked_share': _number(0, 1, exclusive=True, optional=True),
    'final_masked_share': _number(0, 1, exclusive=True, optional=True),
    'eval_steps': _whole(1),
    'peak_learning_rate': _number(0, exclusive=True),
    'decay_fraction': _number(0, 1, exclusive=True),
    'beta_1': _number(0, 1),
    'beta_2': _number(0, 1),
    'epsilon': _number(0, exclusive=True),
    'warmup_steps': _whole(0),
    'growth_warmup_steps': _whole(0),
    'weight_decay_rate': _number(0),
    'gradient_clip_norm': _number(0),
    'noise_scale': _number(0),
    'output_dropout': _number(0, 1),
    'attention_dropout': _number(0, 1),
    'initializer_stddev': _number(0, exclusive=True),
    'use_next_sentence': _truth,
    'jit_compile': _truth,
    'steps_per_execution': _whole(1),
    'tpu': _text,
    'num_replicas': _whole(1, optional=True),
    'log_interval_steps': _whole(1),
    'checkpoint_interval_steps': _whole(1),
    # One to go on from, and one if that is damaged.
    'max_checkpoints_to_keep': _whole(2),
    'eval_interval_steps': _whole(0),
    'profile_steps': _whole(0),
    'seed': _whole(0),
    'deterministic': _truth,
    'vocab_sha256': _text,
    **{name: _choice for name in CHOICES},
}
