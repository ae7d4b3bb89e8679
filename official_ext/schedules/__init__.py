"""Stages, schedules and the papers' schedules. No TensorFlow."""

from official_ext.schedules.growth_schedule import GrowthSchedule
from official_ext.schedules.growth_schedule import ResolvedStage
from official_ext.schedules.papers import compound_grow
from official_ext.schedules.papers import scratch
from official_ext.schedules.papers import stack
from official_ext.schedules.stage import Stage
