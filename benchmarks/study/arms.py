"""The arms of the study, and the data that they train on.

An arm is a gin file in `arms/`: `bert/stack` is `arms/bert/stack.gin`.
"""

from collections.abc import Iterator
import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).parent / 'arms'


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A directory that `prepare` makes from the study's text.

  Attributes:
    flags: of `official_ext.prepare`, beside input and output.
    vocabulary_of: the data set whose vocabulary it uses; None learns one.
  """

  flags: tuple[str, ...]
  vocabulary_of: str | None = None


DATA_SETS = {
    'bert': DataSet((
        '--vocab_size=4096', '--seq_length=64', '--max_predictions_per_seq=10',
        '--eval_fraction=0.02')),
    'bert_short': DataSet((
        '--seq_length=32', '--max_predictions_per_seq=5',
        '--eval_fraction=0.02'), vocabulary_of='bert'),
    'gpt': DataSet((
        '--objective=causal_lm', '--seq_length=64', '--eval_fraction=0.02'),
        vocabulary_of='bert'),
}


@dataclasses.dataclass(frozen=True)
class Arm:
  """One way to train the target.

  Attributes:
    name: family and file, such as 'bert/stack'.
    label: what the tables call it.
    groups: the tables that it belongs to.
    control: the arm whose final loss it has to reach; the baseline with the
      same schedule of the learning rate and no growth.
    restarts: the arm that also has its restarts of the rate, and no growth; None
      if the study has none.
    num_seeds: seeds 0, 1, ... that it is run with.
    data: the data set.
    short_data: the data set of its short stages; None if it has none.
  """

  name: str
  label: str
  groups: tuple[str, ...]
  control: str
  restarts: str | None = None
  num_seeds: int = 3
  data: str = 'bert'
  short_data: str | None = None

  @property
  def gin_file(self) -> str:
    return str(ROOT / f'{self.name}.gin')


def _bert(file: str, label: str, *groups: str, control: str = 'scratch',
          **options) -> Arm:
  return Arm(f'bert/{file}', label, groups, f'bert/{control}', **options)


def _gpt(file: str, label: str, control: str = 'scratch', **options) -> Arm:
  return Arm(f'gpt/{file}', label, ('gpt',), f'gpt/{control}', data='gpt',
             **options)


def _medium(file: str, label: str) -> Arm:
  return Arm(f'medium/{file}', label, ('medium',), 'medium/scratch',
             num_seeds=1)


_CHEAP = {
    'depth': 'depth: 2 of 4 layers',
    'length': 'length: queries pooled by 4',
    'width': 'width: FFN shared by 16',
    'compound': 'compound: 3 of 4 layers, queries pooled by 2',
}
_WIDTH_RULES = ('direct_copy', 'net2net', 'fpi', 'aki', 'aki_literal')

ARMS = {arm.name: arm for arm in (
    _bert('scratch', 'scratch', 'table2', 'figure1', 'table1', 'depth', 'width',
          'state', num_seeds=5),
    _bert('stack', 'stack', 'table2', 'state',
          restarts='bert/scratch_restarts_stack', num_seeds=5),
    _bert('compound_grow', 'CompoundGrow, sharing 4', 'table2', 'state',
          restarts='bert/scratch_restarts_compound', num_seeds=5),
    _bert('compound_grow_k2', 'CompoundGrow, sharing 2', 'table2',
          restarts='bert/scratch_restarts_compound', num_seeds=5),
    _bert('scratch_restarts_compound', "scratch with CompoundGrow's restarts",
          'table2'),
    _bert('scratch_restarts_stack', "scratch with stack's restarts", 'table2'),
    _bert('continuous_rate', 'CompoundGrow, continuous rate', 'state'),
    _bert('stage_rate', 'CompoundGrow, rate counted within the stage', 'state'),
    _bert('stack_continuous_rate', 'stack, continuous rate', 'state'),
    *(_bert(file, f'CompoundGrow, {label}', 'state',
            restarts='bert/scratch_restarts_compound')
      for file, label in (('transfer', 'moments transferred'),
                          ('noise_0', 'no noise'), ('noise_0.01', 'noise 0.01'))),
    _bert('normal_positions', 'CompoundGrow, random positions', 'state',
          control='scratch_normal_positions'),
    _bert('scratch_normal_positions', 'scratch, random positions', 'state'),
    *(_bert(f'figure1_{dimension}_{percent}', f'{label}, {percent} %', 'figure1')
      for percent in (50, 70, 30) for dimension, label in _CHEAP.items()),
    _bert('table1_pooling', 'pooled queries', 'table1'),
    _bert('table1_truncation', 'data truncation', 'table1',
          short_data='bert_short'),
    _bert('table1_sharing', 'FFN sharing', 'table1'),
    _bert('table1_factorization', 'FFN factorisation', 'table1'),
    *(_bert(f'stack_bert_{rule}', f'StackBERT, {rule}', 'depth')
      for rule in ('append', 'top', 'interleave', 'middle', 'identity')),
    _bert('mslt', 'MSLT', 'depth'),
    _bert('midas', 'MIDAS', 'depth'),
    _bert('g_stack', 'G_stack', 'depth'),
    _bert('late_jump_80_wsd', 'late jump at 80 %, WSD', 'depth',
          control='scratch_wsd'),
    _bert('late_jump_60_wsd', 'late jump at 60 %, WSD', 'depth',
          control='scratch_wsd'),
    _bert('scratch_wsd', 'scratch, WSD', 'depth'),
    _bert('late_jump_80_linear', 'late jump at 80 %, linear', 'depth'),
    _bert('late_jump_60_linear', 'late jump at 60 %, linear', 'depth'),
    *(_bert(f'width_{rule}{suffix}', rule + words, 'width')
      for suffix, words in (('', ''), ('_two_stage', ', two-stage'))
      for rule in _WIDTH_RULES),
    _bert('width_96_fpi', '96 to 128, FPI', 'width', control='scratch_4_heads'),
    _bert('width_96_fpi_weighted_norm', '96 to 128, FPI, weighted LayerNorm',
          'width', control='scratch_4_heads'),
    _bert('scratch_4_heads', 'scratch, 4 heads', 'width',
          control='scratch_4_heads'),
    _gpt('scratch', 'scratch'),
    _gpt('stack', 'stack', restarts='gpt/scratch_restarts_stack'),
    _gpt('width_fpi', 'FPI'),
    _gpt('width_aki', 'AKI'),
    _gpt('width_net2net', 'Net2Net'),
    _gpt('mslt', 'MSLT'),
    _gpt('late_jump_80_wsd', 'late jump at 80 %, WSD', control='scratch_wsd'),
    _gpt('scratch_wsd', 'scratch, WSD'),
    _gpt('scratch_restarts_stack', "scratch with stack's restarts"),
    _medium('scratch', 'scratch'),
    _medium('stack', 'stack'),
    _medium('compound_grow', 'CompoundGrow, sharing 4'),
)}


def _turn(arm: Arm, seed: int) -> int:
  """When a run has its turn: what answers most comes first."""
  if arm.groups == ('medium',):
    return 6
  if 'table2' in arm.groups:
    return 0 if not seed else 1 if seed < 3 else 5
  return 2 + seed


def runs() -> Iterator[tuple[Arm, int]]:
  """Every run of the study, arm and seed, in the order of its turn."""
  everything = [(arm, seed) for arm in ARMS.values()
                for seed in range(arm.num_seeds)]
  yield from sorted(everything, key=lambda run: _turn(*run))
