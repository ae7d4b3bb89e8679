"""One pre-training run as plain data, and every mistake that it can contain."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any

from official_ext.growth.architecture import Architecture
from official_ext.mistakes import did_you_mean
from official_ext.mistakes import raise_if_any
from official_ext.schedules import GrowthSchedule

# The values that each choice may have.
CHOICES = {
    'optimizer': ('adamw', 'lamb'),
    'optimizer_growth': ('reset', 'transfer'),
    'query_pool_type': ('mean', 'max'),
    'precision': ('float32', 'mixed_bfloat16'),
    'strategy': ('one_device', 'mirrored', 'multi_worker', 'tpu'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
  """Everything that decides what a pre-training run computes, and where.

  Building one checks nothing: `mistakes` lists all that is wrong with it at
  once, before any device is taken, and `check` raises with that list.

  Attributes:
    architecture: the target, untreated; the model of the last stage.
    schedule: a `GrowthSchedule`: which smaller models come before, and when.
    num_steps: optimizer steps of the whole run, all stages together.
    batch_size: sequences a step, over all replicas together.
    model_dir: the run directory; local or `gs://`.
    data_dir: what `prepare` wrote: records, vocabulary and manifest.
    num_predictions: masked tokens a sequence has room for; 76 are 15 % of 512.
    eval_steps: batches of `batch_size` an evaluation reads from the held-out
      split.
    optimizer: 'adamw' or 'lamb'.
    peak_learning_rate: reached after the warm-up of each stage.
    warmup_steps: steps of linear warm-up in the first stage.
    growth_warmup_steps: steps of linear warm-up after each growth.
    weight_decay_rate: decoupled weight decay, without LayerNorms and biases.
    gradient_clip_norm: largest global norm of the gradients; 0 does not clip.
    optimizer_growth: the optimizer's moments at a growth. 'reset' starts a fresh
      optimizer as CompoundGrow does; 'transfer' maps them to the grown weights.
    noise_scale: spread of the zero-sum noise that separates the copies of a
      grown unit, relative to the weights' own standard deviation; 0 adds none.
    output_dropout: dropout rate of each block's outputs and the embeddings.
    attention_dropout: dropout rate of the attention probabilities.
    initializer_stddev: spread of the fresh weights; BERT's 0.02 is for 768
      units, narrow models start faster with 1/sqrt(hidden_size).
    query_pool_type: how pooled queries are made of tokens, 'mean' or 'max'.
    use_next_sentence: also train next-sentence prediction.
    precision: 'float32' or 'mixed_bfloat16' (weights stay float32).
    jit_compile: compile the training step with XLA; TPUs always do.
    steps_per_execution: training steps a call of the compiled function.
    strategy: 'one_device', 'mirrored', 'multi_worker' or 'tpu'.
    tpu: name of the TPU, or 'local' on a TPU VM; only for strategy 'tpu'.
    num_replicas: devices to use; None uses all. 'mirrored' on a CPU makes as
      many logical devices.
    log_interval_steps: steps between two lines of metrics.
    checkpoint_interval_steps: steps between two checkpoints; a multiple of
      `log_interval_steps`.
    max_checkpoints_to_keep: older checkpoints are deleted.
    seed: of the weights, the dropout, the order of the data and the noise.
    deterministic: make TensorFlow's kernels deterministic: the same run gives
      the same bits, a little slower on a GPU.
    vocab_sha256: hash that the data's vocabulary must have; empty accepts any.
  """

  architecture: Architecture
  schedule: GrowthSchedule
  num_steps: int
  batch_size: int
  model_dir: str | None = None
  data_dir: str | None = None
  num_predictions: int = 76
  eval_steps: int = 50
  optimizer: str = 'adamw'
  peak_learning_rate: float = 1e-4
  warmup_steps: int = 0
  growth_warmup_steps: int = 0
  weight_decay_rate: float = 0.01
  gradient_clip_norm: float = 1.0
  optimizer_growth: str = 'reset'
  noise_scale: float = 0.1
  output_dropout: float = 0.1
  attention_dropout: float = 0.1
  initializer_stddev: float = 0.02
  query_pool_type: str = 'mean'
  use_next_sentence: bool = True
  precision: str = 'float32'
  jit_compile: bool = False
  steps_per_execution: int = 1
  strategy: str = 'one_device'
  tpu: str = ''
  num_replicas: int | None = None
  log_interval_steps: int = 100
  checkpoint_interval_steps: int = 1000
  max_checkpoints_to_keep: int = 3
  seed: int = 0
  deterministic: bool = True
  vocab_sha256: str = ''

  def check(self, manifest: Any = None, num_replicas: int | None = None) -> None:
    """Raises ConfigurationError, a ValueError, with all that `mistakes` finds."""
    raise_if_any(self.mistakes(manifest, num_replicas))

  def mistakes(
      self,
      manifest: Any = None,
      num_replicas: int | None = None,
      *,
      require_directories: bool = True,
  ) -> list[str]:
    """Lists what is wrong, without taking a device.

    Args:
      manifest: the `Manifest` of `data_dir`; None leaves the data unchecked.
      num_replicas: replicas that the strategy will have; None uses
        `self.num_replicas`, or what the strategy implies.
      require_directories: whether `model_dir` and `data_dir` must be given.

    Returns:
      One line for each mistake, saying what was given and the mend.
    """
    values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    found = field_mistakes(values)
    if require_directories:
      for name, holds in (('model_dir', 'where the run goes'),
                          ('data_dir', 'what `prepare` wrote')):
        if not values[name]:
          found.append(f'{name} is missing ({holds}); give --{name}')
    # What follows computes with the fields, so the ones it needs must be right.
    wrong = {line.split()[0] for line in found}
    if not wrong & {'architecture', 'schedule', 'num_steps'}:
      found += self._schedule_mistakes(wrong)
    if not wrong & {'architecture', 'num_predictions'}:
      found += self._length_mistakes()
    if not wrong & {'batch_size', 'num_replicas'}:
      found += self._replica_mistakes(num_replicas)
    if not wrong & {'log_interval_steps', 'checkpoint_interval_steps'}:
      found += self._interval_mistakes()
    if not wrong & {'strategy', 'tpu'}:
      found += self._strategy_mistakes()
    if manifest is not None and not wrong & {'architecture', 'num_predictions'}:
      found += self._data_mistakes(manifest, wrong)
    return found

  def _schedule_mistakes(self, wrong: set[str]) -> list[str]:
    found = [
        f'schedule: {line}'
        for line in self.schedule.mistakes(self.architecture, self.num_steps)]
    if found or wrong & {'warmup_steps', 'growth_warmup_steps'}:
      return found
    first, *later = self.schedule.resolve(self.architecture, self.num_steps)
    for stages, name in (([first], 'warmup_steps'),
                         (later, 'growth_warmup_steps')):
      for stage in stages:
        steps = stage.end_step - stage.start_step
        if getattr(self, name) > steps:
          found.append(
              f'{name} is {getattr(self, name)}, longer than stage '
              f'{stage.name!r} with its {steps} steps; warm up for fewer')
    return found

  def _length_mistakes(self) -> list[str]:
    if self.architecture.is_treated:
      return ['architecture is a treated one; the target has query_pool_size '
              'and ffn_sharing 1 and no ffn_rank: treatments belong to the '
              'stages of the schedule']
    if self.architecture.sequence_length != self.architecture.max_positions:
      # Every stage is derived from `untreated()`, which uses all positions.
      return ['architecture has sequence_length '
              f'{self.architecture.sequence_length} but max_positions '
              f'{self.architecture.max_positions}; a run trains all positions: '
              'leave sequence_length out and set max_positions to the length']
    # [CLS] and two [SEP] are never masked.
    room = self.architecture.sequence_length - 3
    if self.num_predictions > room:
      return [f'num_predictions is {self.num_predictions}, but a sequence of '
              f'{self.architecture.sequence_length} tokens has {room} that can '
              'be masked; give fewer predictions or longer sequences']
    return []

  def _replica_mistakes(self, num_replicas: int | None) -> list[str]:
    replicas = num_replicas or self.num_replicas or 1
    if self.batch_size % replicas:
      return [f'batch_size {self.batch_size} is not divisible by {replicas} '
              'replicas; the nearest that is: '
              f'{replicas * max(1, round(self.batch_size / replicas))}']
    return []

  def _interval_mistakes(self) -> list[str]:
    if self.checkpoint_interval_steps % self.log_interval_steps:
      nearest = self.log_interval_steps * math.ceil(
          self.checkpoint_interval_steps / self.log_interval_steps)
      return [f'checkpoint_interval_steps {self.checkpoint_interval_steps} is '
              'not a multiple of log_interval_steps '
              f'{self.log_interval_steps}; give {nearest}']
    return []

  def _strategy_mistakes(self) -> list[str]:
    if self.strategy == 'tpu' and not self.tpu:
      return ["tpu is missing though strategy is 'tpu'; give --tpu with its "
              "name, or 'local' on a TPU VM"]
    if self.tpu and self.strategy != 'tpu':
      return [f"tpu is {self.tpu!r} but strategy is {self.strategy!r}; set "
              "strategy = 'tpu' or drop tpu"]
    if self.strategy == 'one_device' and (self.num_replicas or 1) > 1:
      return [f"num_replicas is {self.num_replicas} but strategy 'one_device' "
              "has one; set strategy = 'mirrored' or drop num_replicas"]
    return []

  def _data_mistakes(self, manifest: Any, wrong: set[str]) -> list[str]:
    found = []
    pairs = (
        ('seq_length', 'sequence_length', self.architecture.sequence_length,
         'model.max_positions'),
        ('max_predictions_per_seq', 'num_predictions', self.num_predictions,
         'train.num_predictions'),
        ('vocab_size', 'vocab_size', self.architecture.vocab_size,
         'model.vocab_size'),
    )
    for in_data, in_model, wanted, setting in pairs:
      stored = getattr(manifest, in_data)
      if stored != wanted:
        found.append(
            f'data: {in_data} is {stored} in the manifest of {self.data_dir}, '
            f'but {in_model} is {wanted} in the model; set {setting} to '
            f'{stored} or prepare the data again')
    if self.vocab_sha256 and manifest.vocab_sha256 != self.vocab_sha256:
      found.append(
          f'data: the vocabulary of {self.data_dir} has the hash '
          f'{manifest.vocab_sha256}, but vocab_sha256 is {self.vocab_sha256}; '
          'use the data that the hash came from')
    vocabulary = os.path.join(self.data_dir or '', 'vocab.txt')
    if os.path.isfile(vocabulary):
      with open(vocabulary, 'rb') as file:
        actual = hashlib.sha256(file.read()).hexdigest()
      if actual != manifest.vocab_sha256:
        found.append(
            f'data: {vocabulary} has the hash {actual}, but its manifest says '
            f'{manifest.vocab_sha256}; the file was changed after the records '
            'were written: prepare the data again')
    examples = {
        name: manifest.splits[name].examples if name in manifest.splits else 0
        for name in ('train', 'eval')}
    if 'batch_size' not in wrong and examples['train'] < self.batch_size:
      found.append(
          f'data: {self.data_dir} has {examples["train"]} examples to train on, '
          f'fewer than batch_size {self.batch_size}; prepare more text or use a '
          'smaller batch')
    if not examples['eval']:
      found.append(
          f'data: {self.data_dir} has no held-out examples; prepare more text')
    return found


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


def _number(least: float, below: float | None = None, *, exclusive=False):
  def check(value):
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
    'model_dir': _path,
    'data_dir': _path,
    'num_predictions': _whole(1),
    'eval_steps': _whole(1),
    'peak_learning_rate': _number(0, exclusive=True),
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
    'max_checkpoints_to_keep': _whole(1),
    'seed': _whole(0),
    'deterministic': _truth,
    'vocab_sha256': _text,
    **{name: _choice for name in CHOICES},
}
