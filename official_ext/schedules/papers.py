"""The schedules of the papers, as fractions of a run."""

import math

from official_ext.schedules.growth_schedule import GrowthSchedule
from official_ext.schedules.stage import Stage

# Less is what rounding leaves of shares that add up to 1.
_LEAST_REST = 1e-9


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


def stack_bert(depth_growth: str = 'append') -> GrowthSchedule:
  """StackBERT (Gong et al., 2019): 3, 6, then 12 layers of BERT base.

  50k, 70k and 280k of 400k steps; about a quarter of the time saved.

  Args:
    depth_growth: rule for the new layers; the paper's is 'append'.
  """
  return GrowthSchedule((
      Stage('quarter', fraction=0.125, depth=0.25),
      Stage('half', fraction=0.175, depth=0.5, depth_growth=depth_growth),
      Stage('full', fraction=0.7, depth_growth=depth_growth),
  ))


def mslt(joint_fraction: float = 0.2) -> GrowthSchedule:
  """Multi-stage layerwise training (Yang et al., 2020).

  The depth grows by quarters; each time the top quarter is copied on top, and
  only the new layers and the heads are trained, what lies below is frozen and
  needs no backward pass. At the end all layers are trained jointly. Published:
  more than +110 % speed-up.

  Args:
    joint_fraction: share of the steps in which everything is trained; the
      other stages share the rest equally. In training FLOPs, 0.185 gives the
      published speed-up for BERT base; the paper's own shares are not known
      here.
  """
  layerwise = _rest(joint_fraction=joint_fraction) / 4
  part = dict(depth_growth='top', trained_depth=0.25)
  return GrowthSchedule((
      Stage('quarter', fraction=layerwise, depth=0.25),
      Stage('half', fraction=layerwise, depth=0.5, **part),
      Stage('three_quarters', fraction=layerwise, depth=0.75, **part),
      Stage('whole', fraction=layerwise, **part),
      Stage('joint', fraction=joint_fraction),
  ))


def bert2bert(
    width_growth: str = 'aki',
    depth_growth: str = 'top',
    sub_model_depth: float = 0.25,
    sub_model_fraction: float = 0.125,
    small_fraction: float = 0.0,
    small_width: float = 2 / 3,
    small_depth: float = 1.0,
    weighted_norm: bool = False,
) -> GrowthSchedule:
  """bert2BERT: grow a trained model, then pre-train in two stages.

  First every step draws a sub-model of the bottom layers, of which it trains
  the top part; then the whole model is trained: 5 and 35 of 40 epochs. The
  paper grows (12 layers, width 512) to (12, 768), a width that is no multiple.

  Args:
    width_growth: 'aki' or 'fpi', the paper's two, or another rule.
    depth_growth: rule for the new layers; the paper's is 'top': whole stacks,
      the remainder from the top layers.
    sub_model_depth: l_b as a share of the layers; 3 of 12 in the paper.
    sub_model_fraction: share of the steps with sub-models; 0 trains the whole
      model at once.
    small_fraction: share of the steps in which the small model is trained in
      the same run. With 0 the run needs an `init_checkpoint` to grow from.
    small_width: width of that small model.
    small_depth: depth of that small model.
    weighted_norm: whether the first stage after the growth keeps the small
      model's LayerNorm statistics, which makes 'fpi' exact for any width.
  """
  rest = _rest(
      small_fraction=small_fraction, sub_model_fraction=sub_model_fraction)
  growth = dict(width_growth=width_growth, depth_growth=depth_growth,
                weighted_norm=weighted_norm)
  stages = []
  if small_fraction:
    stages.append(Stage(
        'small', fraction=small_fraction, width=small_width,
        depth=small_depth))
  if sub_model_fraction:
    stages.append(Stage(
        'sub_models', fraction=sub_model_fraction,
        sub_model_depth=sub_model_depth, **growth))
    growth = {}
  stages.append(Stage('full', fraction=rest, **growth))
  return GrowthSchedule(tuple(stages))


def net2net(
    small_fraction: float = 0.3, small_width: float = 0.5,
    small_depth: float = 0.5) -> GrowthSchedule:
  """Net2Net (Chen et al., 2016): sampled copies in width, identity in depth.

  The shares are this project's; the paper is not about Transformers.

  Args:
    small_fraction: share of the steps with the small model.
    small_width: its width as a share of the target's.
    small_depth: its depth as a share of the target's.
  """
  return _small_then_full(
      small_fraction, small_width, small_depth,
      width_growth='net2net', depth_growth='identity')


def direct_copy(
    small_fraction: float = 0.3, small_width: float = 0.5,
    small_depth: float = 1.0) -> GrowthSchedule:
  """bert2BERT's baseline DirectCopy: old weights kept, the rest fresh.

  Args:
    small_fraction: share of the steps with the small model.
    small_width: its width as a share of the target's.
    small_depth: its depth as a share of the target's.
  """
  return _small_then_full(
      small_fraction, small_width, small_depth, width_growth='direct_copy')


def data_truncation(
    short_fraction: float = 0.9, length: float = 0.25) -> GrowthSchedule:
  """Short sequences first (Devlin et al., 2019): 128 tokens, then 512.

  Args:
    short_fraction: share of the steps with short sequences; 0.9 in BERT.
    length: their length as a share of the target's. They come from a data
      directory of their own, with fewer predictions (20 against 76).
  """
  return GrowthSchedule((
      Stage('short', fraction=short_fraction, length=length),
      Stage('full', fraction=_rest(short_fraction=short_fraction)),
  ))


def ffn_factorization(
    factorized_fraction: float = 0.5, ffn_rank_share: float = 0.2
) -> GrowthSchedule:
  """Factorised feed-forward blocks first (CompoundGrow, section 3.2, Table 1).

  Args:
    factorized_fraction: share of the steps with factors; Table 1 does not say.
    ffn_rank_share: their rank as a share of the width; 0.2 in Table 1, for
      768 units 154.
  """
  return GrowthSchedule((
      Stage('factorized', fraction=factorized_fraction,
            ffn_rank_share=ffn_rank_share),
      Stage('full', fraction=_rest(factorized_fraction=factorized_fraction)),
  ))


def compound_grow(
    ffn_sharing: int = 4, query_pool_size: int = 2) -> GrowthSchedule:
  """CompoundGrow, section 4.1: depth, width and length together.

  200k steps at a quarter of the layers and 200k at half, 300k at full depth,
  all with both treatments, then 300k without, of 1M steps; published speed-up
  for BERT base +107.1 % in FLOPs, +73.6 % in walltime (Table 2).

  Args:
    ffn_sharing: treatment in width (section 3.2). The paper's text does not
      give the value behind Table 2. It is 4: Table 1 uses 4, and so does the
      authors' released code (`net2net_ratio = 0.25`).
    query_pool_size: treatment in length (section 3.1); the paper uses 2.
  """
  treatments = dict(ffn_sharing=ffn_sharing, query_pool_size=query_pool_size)
  return GrowthSchedule((
      Stage('quarter', fraction=0.2, depth=0.25, **treatments),
      Stage('half', fraction=0.2, depth=0.5, **treatments),
      Stage('deep', fraction=0.3, **treatments),
      Stage('full', fraction=0.3),
  ))


def _small_then_full(
    small_fraction: float, small_width: float, small_depth: float,
    **growth: str) -> GrowthSchedule:
  return GrowthSchedule((
      Stage('small', fraction=small_fraction, width=small_width,
            depth=small_depth),
      Stage('full', fraction=_rest(small_fraction=small_fraction), **growth),
  ))


def _rest(**fractions: float) -> float:
  """The share of a run that these shares leave.

  Raises:
    ValueError: one of them is no share, or nothing is left.
  """
  for name, fraction in fractions.items():
    if (isinstance(fraction, bool) or not isinstance(fraction, (int, float))
        or not 0 <= fraction < 1):
      raise ValueError(
          f'{name} is {fraction!r}; give a number of at least 0 and below 1.')
  rest = 1.0 - math.fsum(fractions.values())
  if rest < _LEAST_REST:
    given = ' and '.join(
        f'{name} {fraction:g}' for name, fraction in fractions.items())
    raise ValueError(f'{given} leave no step to the last stage; give less.')
  return rest
