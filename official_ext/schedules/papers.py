"""The schedules of the papers, as fractions of a run."""

from official_ext.schedules.growth_schedule import GrowthSchedule
from official_ext.schedules.stage import Stage


def scratch() -> GrowthSchedule:
  """The baseline: the whole model from the first step (Devlin et al., 2019)."""
  return GrowthSchedule((Stage('full', fraction=1.0),))


def stack() -> GrowthSchedule:
  """Progressive stacking as CompoundGrow's section 4.1 runs it.

  300k steps at a quarter of the layers, 400k at half, 300k in full, of 1M
  steps; published speed-up for BERT base +68.7 % in FLOPs, +64.9 % in walltime
  (Table 2). The method is Gong et al., 2019, who used 50k, 70k and 280k steps.
  """
  return GrowthSchedule((
      Stage('quarter', fraction=0.3, depth=0.25),
      Stage('half', fraction=0.4, depth=0.5),
      Stage('full', fraction=0.3),
  ))


def compound_grow(
    ffn_sharing: int = 2, query_pool_size: int = 2) -> GrowthSchedule:
  """CompoundGrow, section 4.1: depth, width and length together.

  200k steps at a quarter of the layers and 200k at half, 300k at full depth,
  all with both treatments, then 300k without, of 1M steps; published speed-up
  for BERT base +107.1 % in FLOPs, +73.6 % in walltime (Table 2).

  Args:
    ffn_sharing: treatment in width (section 3.2). The paper's Table 1 uses 4;
      the value behind Table 2 is lost in the text, FLOP counts point to 2.
    query_pool_size: treatment in length (section 3.1); the paper uses 2.
  """
  treatments = dict(ffn_sharing=ffn_sharing, query_pool_size=query_pool_size)
  return GrowthSchedule((
      Stage('quarter', fraction=0.2, depth=0.25, **treatments),
      Stage('half', fraction=0.2, depth=0.5, **treatments),
      Stage('deep', fraction=0.3, **treatments),
      Stage('full', fraction=0.3),
  ))
