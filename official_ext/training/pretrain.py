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
from official_ext.modeling import GrowingBertPretrainer
from official_ext.training import run_directory
from official_ext.training import strategy as strategy_lib
from official_ext.training.checkpoints import RunCheckpoints
from official_ext.training.checkpoints import read_position
from official_ext.training.evaluation import HeldOutEvaluation
from official_ext.training.evaluation import most_frequent_token_accuracy
from official_ext.training.progressive_growth import ProgressiveGrowth
from official_ext.training.run_config import PretrainConfig
from official_ext.training.run_directory import RunDirectory
from official_ext.training.run_recorder import RunRecorder
from official_ext.training.stage_optimizer import StageOptimizer

# Sequences by which the parity of a growth is measured.
_PROBE_SEQUENCES = 4


@dataclasses.dataclass(frozen=True)
class PretrainResult:
  """What a run came to.

  Attributes:
    step: steps done.
    metrics: held-out metrics at the end, with `most_frequent_token_accuracy`,
      the masked accuracy of always guessing the most frequent token.
  """

  step: int
  metrics: dict[str, float]


def pretrain(config: PretrainConfig, *, config_text: str,
             flops_per_step: Callable[[Architecture], float],
             strategy: tf.distribute.Strategy | None = None) -> PretrainResult:
  """Trains through all stages, from the beginning or from where it stopped.

  Args:
    config: the run; its mistakes must have been looked for before.
    config_text: the gin text of `config`, kept in the run directory.
    flops_per_step: training FLOPs of one step of an architecture.
    strategy: a strategy that exists already; None builds the configured one.

  Returns:
    The held-out figures at the end.

  Raises:
    ValueError: the configuration has mistakes, the run directory holds another
      run, or no checkpoint in it can be read.
    NonFiniteLossError: the loss became NaN or infinite.
  """
  manifest = Manifest.read(config.data_dir)
  _seed(config)
  strategy = strategy or strategy_lib.build_strategy(
      config.strategy, tpu=config.tpu, num_replicas=config.num_replicas)
  # Only now is it known how many replicas there are.
  config.check(manifest, num_replicas=strategy.num_replicas_in_sync)
  if config.jit_compile:
    strategy_lib.check_jit_compile(strategy)
  is_chief = strategy_lib.is_chief(strategy)

  directory = RunDirectory(config.model_dir, is_chief=is_chief)
  directory.start(
      config_text=config_text, schedule=describe_run(config, manifest),
      vocabulary_file=os.path.join(
          config.data_dir, manifest_lib.VOCABULARY_FILE),
      data_manifest_file=os.path.join(
          config.data_dir, manifest_lib.MANIFEST_FILE))
  checkpoints = RunCheckpoints(
      directory.file(run_directory.CHECKPOINTS_DIR), max_to_keep=config.max_checkpoints_to_keep,
      is_chief=is_chief)
  newest = checkpoints.newest_valid(warn=_warn)
  step, stage_index = read_position(newest) if newest else (0, 0)

  loader = PretrainLoader(config.data_dir, manifest,
                          use_next_sentence=config.use_next_sentence)
  growth = ProgressiveGrowth(
      config.schedule, config.architecture, config.num_steps,
      stage_optimizer=_stage_optimizer(config),
      optimizer_growth=config.optimizer_growth,
      noise_scale=config.noise_scale, seed=config.seed,
      probe=_probe(loader))
  growth.resume_at(step)
  stage = growth.stages[stage_index]

  with strategy.scope():
    tf_keras.utils.set_random_seed(growth.stage_seed(stage_index))
    model = GrowingBertPretrainer(
        stage.architecture, output_dropout=config.output_dropout,
        attention_dropout=config.attention_dropout,
        query_pool_type=config.query_pool_type,
        initializer_stddev=config.initializer_stddev,
        use_next_sentence=config.use_next_sentence,
        gradient_clip_norm=config.gradient_clip_norm,
        dropout_seed=config.seed)
    model.compile(
        optimizer=growth.build_optimizer(stage, model),
        jit_compile=config.jit_compile,
        steps_per_execution=config.steps_per_execution)
    directory.forget_after(step)
    if newest:
      checkpoints.restore(newest, model)
      _say(f'resuming at step {step}, stage {stage.name!r}, from {newest}')

  evaluate = HeldOutEvaluation(
      model, _distributed(
          strategy, config.batch_size,
          lambda rows: loader.evaluation_batches(rows, config.eval_steps)),
      config.eval_steps)
  recorder = _recorder(config, directory, checkpoints, evaluate,
                       flops_per_step, manifest, config_text)
  recorder.watch(model, growth)
  try:
    if step < config.num_steps:
      batches = _distributed(
          strategy, config.batch_size,
          lambda rows: loader.training_batches(
              rows, seed=config.seed, start_step=step))
      model.fit(batches, steps_per_epoch=config.num_steps - step, verbose=0,
                callbacks=[growth, recorder])
    metrics = recorder.final_evaluation(
        most_frequent_token_accuracy(loader.evaluation_batches(
            BatchSlice(config.batch_size), config.eval_steps)))
  finally:
    recorder.close()
  return PretrainResult(step=growth.step, metrics=metrics)


def _stage_optimizer(config: PretrainConfig) -> StageOptimizer:
  return StageOptimizer(
      num_steps=config.num_steps, name=config.optimizer,
      peak_learning_rate=config.peak_learning_rate,
      warmup_steps=config.warmup_steps,
      growth_warmup_steps=config.growth_warmup_steps,
      weight_decay_rate=config.weight_decay_rate)


def describe_run(config: PretrainConfig, manifest: Manifest) -> dict[str, Any]:
  """Everything that a resumed run may not change, as JSON values.

  Learning rate, clipping and intervals are left out: a run that diverged is
  taken up again with a lower rate.
  """
  stages = config.schedule.resolve(config.architecture, config.num_steps)
  return {
      'num_steps': config.num_steps,
      'batch_size': config.batch_size,
      'num_predictions': manifest.max_predictions_per_seq,
      'target': dataclasses.asdict(config.architecture),
      'stages': [stage.to_dict() for stage in stages],
      'optimizer': {'name': config.optimizer,
                    'growth': config.optimizer_growth},
      'model': {
          'output_dropout': config.output_dropout,
          'attention_dropout': config.attention_dropout,
          'query_pool_type': config.query_pool_type,
          'initializer_stddev': config.initializer_stddev,
          'use_next_sentence': config.use_next_sentence,
          'precision': config.precision,
          'noise_scale': config.noise_scale},
      'seed': config.seed,
      'data': {
          'vocab_sha256': manifest.vocab_sha256,
          'splits': {name: [shard.sha256 for shard in split.shards]
                     for name, split in manifest.splits.items()}},
  }


def _seed(config: PretrainConfig) -> None:
  tf_keras.mixed_precision.set_global_policy(config.precision)
  tf_keras.utils.set_random_seed(config.seed)
  if config.deterministic:
    tf.config.experimental.enable_op_determinism()


def _distributed(strategy, global_batch_size, make_batches):
  def dataset_fn(context: tf.distribute.InputContext):
    return make_batches(BatchSlice(
        global_batch_size, num_pipelines=context.num_input_pipelines,
        pipeline=context.input_pipeline_id,
        num_replicas=context.num_replicas_in_sync))
  return strategy.distribute_datasets_from_function(dataset_fn)


def _probe(loader: PretrainLoader) -> dict[str, tf.Tensor]:
  batches = loader.evaluation_batches(BatchSlice(_PROBE_SEQUENCES), 1)
  return next(iter(batches))


def _recorder(config, directory, checkpoints, evaluate, flops_per_step,
              manifest, config_text) -> RunRecorder:
  earlier = directory.records(run_directory.METRICS_FILE)
  last = earlier[-1] if earlier else {}
  return RunRecorder(
      directory, checkpoints, evaluate,
      tokens_per_step=config.batch_size * manifest.seq_length,
      flops_per_step=flops_per_step,
      log_interval_steps=config.log_interval_steps,
      checkpoint_interval_steps=config.checkpoint_interval_steps,
      config_text=config_text,
      wall_seconds=last.get('wall_seconds', 0.0),
      train_flops=last.get('train_flops', 0.0))


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


def _warn(line: str) -> None:
  _say('warning: ' + line)
