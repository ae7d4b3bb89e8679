"""A whole run, in the order in which it happens."""

from collections.abc import Callable
import dataclasses
import os
import sys
from typing import Any

import tensorflow as tf
import tf_keras

from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from official_ext.data import manifest as manifest_lib
from official_ext.growth import Architecture
from official_ext.growth.fresh_weights import sinusoidal_positions
from official_ext.modeling import build_pretrainer
from official_ext.modeling import weights as weights_lib
from official_ext.schedules import ResolvedStage
from official_ext.training import checkpoint_seal
from official_ext.training import init_checkpoint
from official_ext.training import plateau
from official_ext.training import run_directory
from official_ext.training import strategy as strategy_lib
from official_ext.training import workers as workers_lib
from official_ext.training.checkpoints import RunCheckpoints
from official_ext.training.checkpoints import read_position
from official_ext.training.data_mistakes import stage_manifests
from official_ext.training.evaluation import HeldOutEvaluation
from official_ext.training.evaluation import most_frequent_token_accuracy
from official_ext.training.profiling import StepProfiler
from official_ext.training.progressive_growth import ProgressiveGrowth
from official_ext.training.run_config import PretrainConfig
from official_ext.training.run_description import describe_run
from official_ext.training.run_description import shared_facts
from official_ext.training.run_directory import RunDirectory
from official_ext.training.run_lock import RunLock
from official_ext.training.run_recorder import RunRecorder
from official_ext.training.stage_optimizer import StageOptimizer
from official_ext.training.time_ledger import TimeLedger
from official_ext.training.workers import Workers

# Sequences by which the parity of a growth is measured.
_PROBE_SEQUENCES = 4


@dataclasses.dataclass(frozen=True)
class PretrainResult:
  """What a run came to.

  Attributes:
    step: steps done.
    metrics: held-out metrics at the end, with `most_frequent_token_accuracy`,
      the accuracy of always guessing the most frequent token.
    is_chief: whether this process wrote the run directory; the other workers of
      a run do not.
  """

  step: int
  metrics: dict[str, float]
  is_chief: bool = True


class RunStoppedError(RuntimeError):
  """The run was told to stop, and has saved; the same command goes on."""


def pretrain(config: PretrainConfig, *, config_text: str,
             flops_per_step: Callable[[ResolvedStage, int], float],
             strategy: tf.distribute.Strategy | None = None,
             should_stop: Callable[[], bool] = lambda: False
             ) -> PretrainResult:
  """Trains through all stages, from the beginning or from where it stopped.

  Args:
    config: the run; its mistakes must have been looked for before.
    config_text: the gin text of `config`, kept in the run directory.
    flops_per_step: (stage, masked tokens a sequence) -> training FLOPs of one
      step.
    strategy: a strategy that exists already; None builds the configured one.
    should_stop: asked between two steps; once it says so, the run saves and
      stops.

  Returns:
    The held-out figures at the end.

  Raises:
    ValueError: the configuration has mistakes, the run directory holds another
      run or is in use, no checkpoint in it can be read, or `TF_CONFIG` or the
      other workers do not fit.
    OSError: a file of the run could not be written, or a record not be read.
    NonFiniteLossError: the loss became NaN or infinite.
    RunStoppedError: `should_stop` said so, on this or on another worker.
    WorkerLostError: another worker of the run is gone.
  """
  with workers_lib.join(config.strategy) as workers:
    if not workers.is_chief:
      return _pretrain(
          config, config_text, flops_per_step, strategy, should_stop, workers)
    # Before any device is taken: the second of two runs on one TPU would end
    # the first.
    with RunLock(config.model_dir) as lock:
      return _pretrain(
          config, config_text, flops_per_step, strategy, should_stop, workers,
          before_save=lock.check)


def _pretrain(config, config_text, flops_per_step, strategy, should_stop,
              workers: Workers, before_save: Callable[[], None] = lambda: None
              ) -> PretrainResult:
  manifest = Manifest.read(config.data_dir)
  _seed(config)
  strategy = strategy or strategy_lib.build_strategy(
      config.strategy, tpu=config.tpu, num_replicas=config.num_replicas)
  # Only now is it known how many replicas there are.
  config.check(manifest, num_replicas=strategy.num_replicas_in_sync)
  if config.jit_compile:
    strategy_lib.check_jit_compile(strategy)
  workers.check_same(shared_facts(config, manifest))
  workers.start_agreeing()

  directory = RunDirectory(config.model_dir, is_chief=workers.is_chief)
  checkpoints = RunCheckpoints(
      directory.file(run_directory.CHECKPOINTS_DIR), max_to_keep=config.max_checkpoints_to_keep,
      is_chief=workers.is_chief)
  with workers.chief_first():
    directory.start(
        config_text=config_text, schedule=describe_run(config, manifest),
        vocabulary_file=os.path.join(
            config.data_dir, manifest_lib.VOCABULARY_FILE),
        data_manifest_file=os.path.join(
            config.data_dir, manifest_lib.MANIFEST_FILE))
    newest = checkpoints.recover(warn=_warn)
    step, stage_index = read_position(newest) if newest else (0, 0)
    if not newest:
      directory.check_begins_anew()
    directory.forget_after(step if newest else -1)
  workers.check_same(_found(directory, newest))
  if manifest.unigram and workers.is_chief:
    _say(plateau.describe_level(manifest.unigram))

  data = _StageData(config, manifest, strategy)
  growth = ProgressiveGrowth(
      config.schedule, config.architecture, config.num_steps,
      stage_optimizer=_stage_optimizer(config),
      optimizer_growth=config.optimizer_growth,
      noise_scale=config.noise_scale, seed=config.seed,
      probe=data.probe(), source=config.source(),
      stage_batches=data.training_batches)
  growth.resume_at(step)
  stage = growth.stages[stage_index]
  starts_from_source = config.init_checkpoint and not newest

  with strategy.scope():
    tf_keras.utils.set_random_seed(growth.stage_seed(stage_index))
    if starts_from_source:
      init_checkpoint.check_vocabulary(config.init_checkpoint, manifest)
      model = _build_model(config, growth.source)
      init_checkpoint.write_source_weights(model, config.init_checkpoint)
    else:
      model = _build_model(config, stage.architecture)
      if not newest:
        _start_positions(config, model)
      growth.prepare_model(stage, model)
    model.compile(
        optimizer=growth.build_optimizer(stage, model),
        jit_compile=config.jit_compile,
        steps_per_execution=config.steps_per_execution)
    if newest:
      checkpoints.restore(newest, model)
      _say(f'resuming at step {step}, stage {stage.name!r}, from {newest}')

  evaluate = HeldOutEvaluation(
      model, data.evaluation_batches(), config.eval_steps,
      batches_per_step=config.gradient_accumulation_steps,
      unigram=manifest.unigram)
  past = _past(directory, newest, step)
  ledger = TimeLedger(past.get('spent_seconds'))
  recorder = RunRecorder(
      directory, checkpoints, evaluate, batch_size=config.batch_size,
      flops_per_step=lambda stage: flops_per_step(
          stage, data.num_predictions(stage)),
      log_interval_steps=config.log_interval_steps,
      checkpoint_interval_steps=config.checkpoint_interval_steps,
      eval_interval_steps=config.eval_interval_steps,
      config_text=config_text, ledger=ledger, saved_path=newest,
      wall_seconds=past.get('wall_seconds', 0.0),
      train_flops=past.get('train_flops', 0.0),
      should_stop=lambda: workers.stop_now(should_stop()),
      before_save=before_save)
  recorder.watch(model, growth)
  profiler = StepProfiler(
      directory, growth, ledger, num_steps=config.profile_steps,
      steps_per_execution=config.steps_per_execution,
      log_interval_steps=config.log_interval_steps)
  try:
    if starts_from_source:
      growth.grow_source(model)
    if step < config.num_steps and not workers.stopped(should_stop()):
      model.fit(data.training_batches(stage, step),
                steps_per_epoch=config.num_steps - step, verbose=0,
                callbacks=[growth, recorder, profiler])
    if workers.stopped(should_stop()):
      raise RunStoppedError(
          _stopped(growth.step, config, recorder.saved_path))
    metrics = recorder.final_evaluation(data.most_frequent_token_accuracy())
  except tf.errors.DataLossError as error:
    raise data.damage(growth.step) or error
  finally:
    profiler.close()
    recorder.close()
  return PretrainResult(
      step=growth.step, metrics=metrics, is_chief=workers.is_chief)


class _StageData:
  """The batches of each stage, by the length of its sequences."""

  def __init__(self, config: PretrainConfig, manifest: Manifest,
               strategy: tf.distribute.Strategy):
    self._config = config
    self._strategy = strategy
    self._manifests = stage_manifests(config, manifest)
    self._loaders = {
        length: PretrainLoader(
            path, its_manifest, use_next_sentence=config.use_next_sentence)
        for length, (path, its_manifest) in self._manifests.items()}
    # Held-out figures of all stages are of the same, whole sequences.
    self._whole = self._loaders[manifest.seq_length]

  def num_predictions(self, stage: ResolvedStage) -> int:
    """Masked tokens that a sequence of the stage has room for."""
    _, manifest = self._manifests[stage.architecture.sequence_length]
    return manifest.max_predictions_per_seq

  def training_batches(self, stage: ResolvedStage, step: int):
    """Endless distributed batches of a stage, from a step of the run on."""
    loader = self._loaders[stage.architecture.sequence_length]
    _, manifest = self._manifests[stage.architecture.sequence_length]
    return self._distributed(lambda rows: loader.training_batches(
        rows, seed=self._config.seed, start_step=step,
        masked_share=self._config.masked_shares(manifest)))

  def evaluation_batches(self):
    """Batches of the size of training's micro-batches, and more of them."""
    num_parts = self._config.gradient_accumulation_steps
    return self._distributed(lambda rows: self._whole.evaluation_batches(
        rows, self._config.eval_steps * num_parts), num_parts)

  def probe(self) -> dict[str, tf.Tensor]:
    """The few sequences by which the parity of a growth is measured."""
    return next(iter(self._whole.evaluation_batches(
        BatchSlice(_PROBE_SEQUENCES), 1)))

  def most_frequent_token_accuracy(self) -> float:
    return most_frequent_token_accuracy(self._whole.evaluation_batches(
        BatchSlice(self._config.batch_size), self._config.eval_steps))

  def damage(self, step: int) -> OSError | None:
    """The error that names the record at which reading failed after a step."""
    found = (loader.find_damage(
        batch_size=self._config.batch_size, seed=self._config.seed, step=step)
             for loader in self._loaders.values())
    return next((error for error in found if error is not None), None)

  def _distributed(self, make_batches, num_parts: int = 1):
    def dataset_fn(context: tf.distribute.InputContext):
      return make_batches(BatchSlice(
          self._config.batch_size // num_parts,
          num_pipelines=context.num_input_pipelines,
          pipeline=context.input_pipeline_id,
          num_replicas=context.num_replicas_in_sync))
    return self._strategy.distribute_datasets_from_function(dataset_fn)


def _build_model(config: PretrainConfig, architecture: Architecture
                 ) -> tf_keras.Model:
  options = {}
  if architecture.family == 'bert':
    options = dict(query_pool_type=config.query_pool_type,
                   use_next_sentence=config.use_next_sentence)
  return build_pretrainer(
      architecture, output_dropout=config.output_dropout,
      attention_dropout=config.attention_dropout,
      initializer_stddev=config.initializer_stddev,
      gradient_clip_norm=config.gradient_clip_norm,
      gradient_accumulation_steps=config.gradient_accumulation_steps,
      dropout_seed=config.seed, **options)


def _start_positions(config: PretrainConfig, model: tf_keras.Model) -> None:
  """Gives fresh position embeddings the start that the configuration names."""
  if config.position_initializer == 'sinusoidal':
    positions = weights_lib.named_variables(model)['embeddings/position']
    positions.assign(sinusoidal_positions(
        positions.shape, config.initializer_stddev))


def _stage_optimizer(config: PretrainConfig) -> StageOptimizer:
  return StageOptimizer(
      num_steps=config.num_steps, name=config.optimizer,
      peak_learning_rate=config.peak_learning_rate,
      schedule=config.learning_rate_schedule,
      decay_fraction=config.decay_fraction,
      restart=config.learning_rate_restart,
      beta_1=config.beta_1, beta_2=config.beta_2, epsilon=config.epsilon,
      warmup_steps=config.warmup_steps,
      growth_warmup_steps=config.growth_warmup_steps,
      weight_decay_rate=config.weight_decay_rate)


def _found(directory: RunDirectory, newest: str | None) -> dict[str, Any]:
  """What all workers must find in the run directory, which they share."""
  return {
      'model_dir has a schedule.json': tf.io.gfile.exists(
          directory.file(run_directory.SCHEDULE_FILE)),
      'newest checkpoint in model_dir': newest and os.path.basename(newest)}


def _seed(config: PretrainConfig) -> None:
  tf_keras.mixed_precision.set_global_policy(config.precision)
  tf_keras.utils.set_random_seed(config.seed)
  if config.deterministic:
    tf.config.experimental.enable_op_determinism()


def _past(directory: RunDirectory, newest: str | None, step: int
          ) -> dict[str, Any]:
  """What earlier sessions took, up to the step of the newest checkpoint.

  By the line of metrics that has it, or by the seal of the checkpoint, if that
  was saved later.
  """
  lines = [record for record in directory.records(run_directory.METRICS_FILE)
           if record['step'] <= step]
  past = dict(lines[-1]) if lines else {}
  sealed = checkpoint_seal.read_progress(newest) if newest else {}
  if sealed.get('wall_seconds', 0.0) > past.get('wall_seconds', 0.0):
    past |= sealed
  return past


def _stopped(step: int, config: PretrainConfig, path: str | None) -> str:
  saved = f'{path} is saved' if path else 'nothing was to be saved yet'
  return (f'stopped after step {step} of {config.num_steps}; {saved}, and the '
          'same command goes on from there.')


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def _warn(line: str) -> None:
  _say('warning: ' + line)
