"""Settings of a `PretrainConfig` that exclude each other."""

from collections.abc import Sequence
import itertools
from typing import Any

from official_ext.growth.preservation import weight_growth_changes
from official_ext.schedules import ResolvedStage

_EXACT = {
    'optimizer': 'adamw', 'gradient_clip_norm': 0, 'noise_scale': 0,
    'output_dropout': 0, 'attention_dropout': 0}


def continuation_mistakes(config: Any) -> list[str]:
  """Lists what keeps a run from going on exactly after a growth ('continue')."""
  return [
      f'{name} is {getattr(config, name)!r}, but optimizer_growth is '
      f"'continue', a test of exactness; give {value!r}"
      for name, value in _EXACT.items() if getattr(config, name) != value]


def inexact_growths(stages: Sequence[ResolvedStage]) -> list[str]:
  """The growths after which 'continue' would not be what it says."""
  found = []
  for before, after in itertools.pairwise(stages):
    source, target = before.end_architecture, after.architecture
    reasons = weight_growth_changes(
        source, target, width=after.width_growth, depth=after.depth_growth)
    # New layers have no past; moments of products are estimates.
    reasons = reasons or [
        f'{field} {getattr(source, field)} -> {getattr(target, field)}'
        for field in ('num_layers', 'ffn_rank')
        if getattr(source, field) != getattr(target, field)]
    if reasons:
      found.append(
          "optimizer_growth is 'continue', a test of exactness, but stage "
          f'{after.name!r} cannot go on exactly ({"; ".join(reasons)}); give '
          "'transfer'")
  return found


def restart_mistakes(config: Any) -> list[str]:
  """Lists settings that do not go with the restart of the rate."""
  if config.learning_rate_restart == 'stage' and config.growth_warmup_steps:
    return [f'growth_warmup_steps is {config.growth_warmup_steps}, but with '
            "learning_rate_restart 'stage' every stage warms up over "
            'warmup_steps; give 0']
  return []


def masking_mistakes(config: Any) -> list[str]:
  """Lists settings that do not go with how masks are drawn."""
  if config.masking == 'dynamic' and config.architecture.family == 'gpt':
    return ["masking is 'dynamic', but a GPT predicts every token; leave it "
            'out']
  given = [name for name in ('masked_share', 'final_masked_share')
           if getattr(config, name) is not None]
  if given and config.masking != 'dynamic':
    return [f'{name} is {getattr(config, name)!r}, but masking is '
            f"{config.masking!r}; give masking = 'dynamic' or leave {name} out"
            for name in given]
  return []
