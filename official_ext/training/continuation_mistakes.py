"""What keeps a run from going on exactly after a growth ('continue')."""

from collections.abc import Sequence
import itertools
from typing import Any

from official_ext.growth.preservation import weight_growth_changes
from official_ext.schedules import ResolvedStage

_EXACT = {
    'optimizer': 'adamw', 'gradient_clip_norm': 0, 'noise_scale': 0,
    'output_dropout': 0, 'attention_dropout': 0}


def setting_mistakes(config: Any) -> list[str]:
  """Lists the settings of a `PretrainConfig` that would disturb it."""
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
