"""Stages, schedules and the papers' schedules. No TensorFlow."""

from official_ext.schedules.growth_schedule import at_start
from official_ext.schedules.growth_schedule import describe_growth
from official_ext.schedules.growth_schedule import GrowthSchedule
from official_ext.schedules.growth_schedule import ResolvedStage
from official_ext.schedules.papers import bert2bert
from official_ext.schedules.papers import compound_grow
from official_ext.schedules.papers import data_truncation
from official_ext.schedules.papers import direct_copy
from official_ext.schedules.papers import ffn_factorization
from official_ext.schedules.papers import mslt
from official_ext.schedules.papers import net2net
from official_ext.schedules.papers import scratch
from official_ext.schedules.papers import stack
from official_ext.schedules.papers import stack_bert
from official_ext.schedules.stage import Stage
