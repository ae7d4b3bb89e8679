"""Training through the stages of a schedule.

What it exports is imported at its first use, because a configuration is checked
by `run_config` alone: its mistakes come at once, without TensorFlow.
"""

import importlib

_HOMES = {
    'GrowthObserver': 'progressive_growth',
    'ProgressiveGrowth': 'progressive_growth',
    'StageOptimizer': 'stage_optimizer',
}
__all__ = list(_HOMES)


def __getattr__(name: str):
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(
      importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
