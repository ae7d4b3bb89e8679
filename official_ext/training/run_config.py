"""One pre-training run as plain data, and every mistake that it can contain."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

from official_ext.data.masked_share import MaskedShare
from official_ext.growth.architecture import Architecture
from official_ext.mistakes import one_line
from official_ext.mistakes import raise_if_any
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import ResolvedStage
from official_ext.training import data_mistakes
from official_ext.training import setting_mistakes
from official_ext.training.config_fields import field_mistakes
from official_ext.training.write_access import try_to_write


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
    gradient_accumulation_steps: micro-batches that each replica's share of the
      batch is split into, run one after another to save memory.
    model_dir: the run directory; local or `gs://`.
    data_dir: what `prepare` wrote: records, vocabulary and manifest.
    init_checkpoint: a checkpoint that the first stage grows from: a run
      directory, what `grow` or `convert` wrote, or one of Model Garden's; None
      starts from fresh weights.
    stage_data_dirs: data directories of shorter sequences, for the stages that
      have them (data truncation): the same text and vocabulary.
    num_predictions: masked tokens a sequence has room for; 76 are 15 % of 512.
      0 for a GPT, which predicts every token.
    masking: 'static' trains on the masks that `prepare` drew; 'dynamic' draws
      other ones whenever a sequence is read (RoBERTa). Held-out batches keep
      theirs.
    masked_share: share of the tokens that 'dynamic' masks at the first step;
      None means the share that the data was prepared with.
    final_masked_share: share at the last step, linear in between; None means
      that it stays.
    eval_steps: batches of `batch_size` an evaluation reads from the held-out
      split.
    optimizer: 'adamw' or 'lamb'.
    peak_learning_rate: the largest learning rate.
    learning_rate_schedule: how the rate falls from the peak: 'linear' or
      'cosine' to zero at the end, 'wsd' (stable, then linear to zero over the
      last `decay_fraction` of the steps), or 'constant'.
    decay_fraction: share of the steps in which 'wsd' decays.
    learning_rate_restart: what a growth does to the rate: 'peak' restarts
      there, 'continuous' goes on, 'stage' counts warm-up and decay within each
      stage; see `StageOptimizer`.
    warmup_steps: steps of linear warm-up in the first stage; with the restart
      'stage', in every stage.
    growth_warmup_steps: steps of linear warm-up after each growth.
    beta_1: decay of the optimizer's first moment.
    beta_2: decay of its second moment; many recent recipes use 0.98.
    epsilon: added to the root of the second moment.
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
    position_initializer: how fresh position embeddings start: 'normal' as BERT's,
      or 'sinusoidal' with the same spread, which shows neighbours from the
      first step (Vaswani et al., 2017, section 3.5). They are trained all the
      same.
    query_pool_type: how pooled queries are made of tokens, 'mean' or 'max'.
    use_next_sentence: also train next-sentence prediction.
    precision: 'float32' or 'mixed_bfloat16' (weights stay float32).
    jit_compile: compile the training step with XLA; TPUs always do.
    steps_per_execution: training steps a call of the compiled function.
    strategy: 'one_device', 'mirrored', 'multi_worker' or 'tpu'.
    tpu: name of the TPU, or 'local' on a TPU VM; only for strategy 'tpu'.
    num_replicas: devices that 'mirrored' uses; None uses all. On a CPU it makes
      as many logical devices.
    log_interval_steps: steps between two lines of metrics.
    checkpoint_interval_steps: steps between two checkpoints; a multiple of
      `log_interval_steps`.
    max_checkpoints_to_keep: older checkpoints are deleted; at least 2.
    eval_interval_steps: steps between two held-out evaluations, beside those at
      growths and at the end; 0 makes no others. They come with the next line of
      metrics.
    profile_steps: steps of each stage that the TensorFlow Profiler traces, once
      the stage has warmed up; 0 traces none.
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
  gradient_accumulation_steps: int = 1
  init_checkpoint: str | None = None
  stage_data_dirs: Sequence[str] = ()
  num_predictions: int = 76
  masking: str = 'static'
  masked_share: float | None = None
  final_masked_share: float | None = None
  eval_steps: int = 50
  optimizer: str = 'adamw'
  peak_learning_rate: float = 1e-4
  learning_rate_schedule: str = 'linear'
  decay_fraction: float = 0.1
  learning_rate_restart: str = 'peak'
  warmup_steps: int = 0
  growth_warmup_steps: int = 0
  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-6
  weight_decay_rate: float = 0.01
  gradient_clip_norm: float = 1.0
  optimizer_growth: str = 'reset'
  noise_scale: float = 0.1
  output_dropout: float = 0.1
  attention_dropout: float = 0.1
  initializer_stddev: float = 0.02
  position_initializer: str = 'normal'
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
  eval_interval_steps: int = 0
  profile_steps: int = 10
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
      require_directories: whether `model_dir` and `data_dir` must be given, and
        the name of the TPU; planning needs none of them.

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
        elif isinstance(values[name], str) and os.path.isfile(values[name]):
          found.append(
              f'{name} is {values[name]!r}, which is a file; give a directory')
      found += self._write_mistakes()
    # What follows computes with the fields, so the ones it needs must be right.
    wrong = {line.split()[0] for line in found}
    if not wrong & {'architecture', 'schedule', 'num_steps'}:
      found += self._schedule_mistakes(wrong)
    if not wrong & {'architecture', 'num_predictions'}:
      found += self._length_mistakes()
    if not wrong & {'batch_size', 'num_replicas', 'gradient_accumulation_steps'}:
      found += self._replica_mistakes(num_replicas)
    if self.optimizer_growth == 'continue':
      found += setting_mistakes.continuation_mistakes(self)
    if not wrong & {'learning_rate_restart', 'growth_warmup_steps'}:
      found += setting_mistakes.restart_mistakes(self)
    if not wrong & {'masking', 'architecture'}:
      found += setting_mistakes.masking_mistakes(self)
    if self.position_initializer == 'sinusoidal' and self.init_checkpoint:
      found.append(
          "position_initializer is 'sinusoidal', but the run starts from "
          'init_checkpoint, which has position embeddings; leave one of them '
          'out')
    if not wrong & {'log_interval_steps', 'checkpoint_interval_steps'}:
      found += self._interval_mistakes()
    if not wrong & {'strategy', 'tpu'}:
      found += self._strategy_mistakes(require_directories, wrong)
    if (manifest is not None and isinstance(self.data_dir, str | None)
        and not wrong & {'architecture', 'num_predictions'}):
      found += data_mistakes.data_mistakes(self, manifest, wrong)
    if require_directories and not found:
      found += data_mistakes.stage_data_mistakes(self, manifest)
      found += self._source_mistakes(manifest)
    # Paths may hold anything.
    return [one_line(line) for line in found]

  def resolve(self) -> tuple[ResolvedStage, ...]:
    """The stages in absolute numbers.

    Raises:
      ValueError: the schedule does not serve the architecture, or the
        checkpoint that the first stage grows from cannot be read.
    """
    return self.schedule.resolve(
        self.architecture, self.num_steps, self.source())

  def source(self) -> Architecture | None:
    """The model that the first stage grows from; None if there is none.

    Raises:
      ValueError: the checkpoint cannot be read.
    """
    if not self.init_checkpoint:
      return None
    # Reading a checkpoint takes TensorFlow, which few configurations need.
    from official_ext.training import init_checkpoint
    return init_checkpoint.source_architecture(
        self.init_checkpoint, self.model_dir)

  def _write_mistakes(self) -> list[str]:
    path = self.model_dir
    # A remote one is written to when the run locks it, before it takes a device.
    if not path or not isinstance(path, str) or '://' in path or (
        os.path.isfile(path)):
      return []
    try:
      try_to_write(path)
    except OSError as error:
      return [f'model_dir is {path!r}, where nothing can be written '
              f'({error.strerror}); give a directory of yours, or mend its '
              'permissions']
    return []

  def _schedule_mistakes(self, wrong: set[str]) -> list[str]:
    source = None
    if 'init_checkpoint' not in wrong:
      try:
        source = self.source()
      except ValueError as error:
        return [f'init_checkpoint: {one_line(error).rstrip(".")}']
    found = [
        f'schedule: {line}' for line in self.schedule.mistakes(
            self.architecture, self.num_steps, source)]
    if found or wrong & {'warmup_steps', 'growth_warmup_steps'}:
      return found
    stages = self.schedule.resolve(self.architecture, self.num_steps, source)
    first, *later = stages
    for group, name in (([first], 'warmup_steps'),
                        (later, 'growth_warmup_steps'),
                        (later if self.learning_rate_restart == 'stage' else [],
                         'warmup_steps')):
      for stage in group:
        if getattr(self, name) > stage.num_steps:
          found.append(
              f'{name} is {getattr(self, name)}, longer than stage '
              f'{stage.name!r} with its {stage.num_steps} steps; warm up for '
              'fewer')
    if first.trained_part != 'all' and self.optimizer_growth != 'reset':
      found.append(
          f'optimizer_growth is {self.optimizer_growth!r}, but the first stage, '
          f'{first.name!r}, trains {first.trained_part} only: the other weights '
          "have no moments to keep; give 'reset'")
    if self.optimizer_growth == 'continue':
      found += setting_mistakes.inexact_growths(stages)
    return found

  def _source_mistakes(self, manifest: Any) -> list[str]:
    if manifest is None or not self.init_checkpoint:
      return []
    from official_ext.training import init_checkpoint
    if init_checkpoint.has_begun(self.model_dir):
      # The checkpoint may be gone by now.
      return []
    try:
      init_checkpoint.check_vocabulary(self.init_checkpoint, manifest)
    except ValueError as error:
      return [one_line(error).rstrip('.')]
    return []

  def _length_mistakes(self) -> list[str]:
    if self.architecture.is_treated:
      return ['architecture is a treated one; the target has query_pool_size '
              'and ffn_sharing 1, no ffn_rank and no norm_source_size: treatments '
              'belong to the stages of the schedule']
    if self.architecture.sequence_length != self.architecture.max_positions:
      # Every stage is derived from `untreated()`, which uses all positions.
      return ['architecture has sequence_length '
              f'{self.architecture.sequence_length} but max_positions '
              f'{self.architecture.max_positions}; a run trains all positions: '
              'leave sequence_length out and set max_positions to the length']
    if self.architecture.family == 'gpt':
      found = []
      if self.num_predictions:
        found.append(
            f'num_predictions is {self.num_predictions}, but a GPT predicts '
            'every token; give 0')
      if self.use_next_sentence:
        found.append(
            'use_next_sentence is True, but a GPT reads no pairs of sentences; '
            'give False')
      return found
    if not self.num_predictions:
      return ['num_predictions is 0; give a whole number of at least 1']
    # [CLS] and two [SEP] are never masked.
    room = self.architecture.sequence_length - 3
    if self.num_predictions > room:
      return [f'num_predictions is {self.num_predictions}, but a sequence of '
              f'{self.architecture.sequence_length} tokens has {room} that can '
              'be masked; give fewer predictions or longer sequences']
    return []

  def _replica_mistakes(self, num_replicas: int | None) -> list[str]:
    problem = self.division_problem(
        num_replicas or self.num_replicas or 1, 'replicas')
    return [problem] if problem else []

  def division_problem(self, num_devices: int, devices: str) -> str | None:
    """Why the batch cannot be divided, and into what it can; None if it can.

    Args:
      num_devices: that share a batch.
      devices: what the message calls them.
    """
    parts = num_devices * self.gradient_accumulation_steps
    if not self.batch_size % parts:
      return None
    divisor = f'{num_devices} {devices}'
    if self.gradient_accumulation_steps > 1:
      divisor = (f'{num_devices} x {self.gradient_accumulation_steps} ({devices} '
                 'x gradient_accumulation_steps)')
    return (f'batch_size {self.batch_size} is not divisible by {divisor}; the '
            f'nearest that is: {parts * max(1, round(self.batch_size / parts))}')

  def masked_shares(self, manifest: Any) -> MaskedShare | None:
    """How the share of masked tokens goes; None if the data's masks are used."""
    if self.masking != 'dynamic':
      return None
    start = self.masked_share
    if start is None:
      start = manifest.settings.get('masked_lm_probability', 0.15)
    end = start if self.final_masked_share is None else self.final_masked_share
    return MaskedShare(start, end, self.num_steps)

  def _interval_mistakes(self) -> list[str]:
    if self.checkpoint_interval_steps % self.log_interval_steps:
      nearest = self.log_interval_steps * math.ceil(
          self.checkpoint_interval_steps / self.log_interval_steps)
      return [f'checkpoint_interval_steps {self.checkpoint_interval_steps} is '
              'not a multiple of log_interval_steps '
              f'{self.log_interval_steps}; give {nearest}']
    return []

  def _strategy_mistakes(self, require_tpu: bool, wrong: set[str]) -> list[str]:
    if self.strategy == 'tpu' and not self.tpu and require_tpu:
      return ["tpu is missing though strategy is 'tpu'; give --tpu with its "
              "name, or 'local' on a TPU VM"]
    if self.tpu and self.strategy != 'tpu':
      return [f"tpu is {self.tpu!r} but strategy is {self.strategy!r}; set "
              "strategy = 'tpu' or drop tpu"]
    if self.strategy in ('multi_worker', 'tpu') and self.num_replicas:
      return [f'num_replicas is {self.num_replicas}, but strategy '
              f"{self.strategy!r} uses all devices there are; drop num_replicas"]
    if 'num_replicas' in wrong:
      return []
    if self.strategy == 'one_device' and (self.num_replicas or 1) > 1:
      return [f"num_replicas is {self.num_replicas} but strategy 'one_device' "
              "has one; set strategy = 'mirrored' or drop num_replicas"]
    return []
