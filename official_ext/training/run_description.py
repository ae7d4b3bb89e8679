"""What a run is: what its sessions, and all its workers, must agree on."""

from collections.abc import Sequence
import dataclasses
import json
from typing import Any

from official_ext.data.manifest import Manifest
from official_ext.training import init_checkpoint
from official_ext.training import workers as workers_lib
from official_ext.training.data_mistakes import stage_manifests
from official_ext.training.run_config import PretrainConfig


def describe_run(config: PretrainConfig, manifest: Manifest) -> dict[str, Any]:
  """Everything that a resumed run may not change, as JSON values.

  The peak learning rate, warm-ups, clipping and intervals are left out: a run
  that diverged can go on with a lower rate.
  """
  source = config.source()
  manifests = stage_manifests(config, manifest)
  stages = []
  for stage in config.resolve():
    _, own = manifests[stage.architecture.sequence_length]
    stages.append(
        stage.to_dict() | {'num_predictions': own.max_predictions_per_seq})
  return {
      'num_steps': config.num_steps,
      'batch_size': config.batch_size,
      'num_predictions': manifest.max_predictions_per_seq,
      'target': dataclasses.asdict(config.architecture),
      'stages': stages,
      init_checkpoint.SOURCE_KEY: source and dataclasses.asdict(source),
      'optimizer': {
          'name': config.optimizer,
          'growth': config.optimizer_growth,
          **_unless_default(config, (
              'learning_rate_schedule', 'decay_fraction',
              'learning_rate_restart', 'beta_1', 'beta_2', 'epsilon',
              # Micro-batches round differently, and draw other dropout masks.
              'gradient_accumulation_steps'))},
      'model': {
          'output_dropout': config.output_dropout,
          'attention_dropout': config.attention_dropout,
          'query_pool_type': config.query_pool_type,
          'initializer_stddev': config.initializer_stddev,
          'use_next_sentence': config.use_next_sentence,
          'precision': config.precision,
          'noise_scale': config.noise_scale,
          **_unless_default(config, (
              'position_initializer', 'masking', 'masked_share',
              'final_masked_share'))},
      'seed': config.seed,
      'data': {
          'vocab_sha256': manifest.vocab_sha256,
          'splits': {
              str(length): {name: [shard.sha256 for shard in split.shards]
                            for name, split in own.splits.items()}
              for length, (_, own) in sorted(manifests.items())}},
  }


def _unless_default(config: PretrainConfig, names: Sequence[str]
                    ) -> dict[str, Any]:
  """These fields, without those at their default.

  So that a run that began before a field existed can be resumed.
  """
  defaults = {field.name: field.default
              for field in dataclasses.fields(config)}
  return {name: getattr(config, name) for name in names
          if getattr(config, name) != defaults[name]}


def shared_facts(config: PretrainConfig, manifest: Manifest) -> dict[str, Any]:
  """What must be the same on all workers; paths may differ between hosts."""
  fields = {
      field.name: repr(getattr(config, field.name))
      for field in dataclasses.fields(config)
      if not field.name.endswith(('_dir', '_dirs', '_checkpoint'))}
  return fields | workers_lib.software() | {
      'data': json.dumps(describe_run(config, manifest)['data'])}
