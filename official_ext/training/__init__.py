"""Training through the stages of a schedule."""

from official_ext.training.progressive_growth import GrowthObserver
from official_ext.training.progressive_growth import ProgressiveGrowth
from official_ext.training.stage_optimizer import StageOptimizer
