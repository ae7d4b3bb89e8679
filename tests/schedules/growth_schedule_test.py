"""Schedules resolve to steps that add up, or say everything that is wrong."""

import itertools

import hypothesis
from hypothesis import strategies as st
import pytest

from official_ext import schedules
from official_ext.growth import Architecture
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage

TARGET = Architecture(
    num_layers=12, hidden_size=8, num_heads=2, inner_size=24, vocab_size=9)

_stages = st.builds(
    dict, fraction=st.sampled_from([None, 0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0]),
    steps=st.sampled_from([None, None, 1, 3, 10]),
    depth=st.sampled_from([None, 0.25, 1 / 3, 0.5, 1.0]),
    num_layers=st.sampled_from([None, None, None, 3, 12]),
    ffn_sharing=st.sampled_from([1, 2, 4, 5]),
    query_pool_size=st.sampled_from([1, 2]),
    ffn_rank=st.sampled_from([None, None, 2]),
    ffn_rank_share=st.sampled_from([None, None, None, 0.5]),
    width=st.sampled_from([None, None, 0.5, 1.0, 0.3]),
    hidden_size=st.sampled_from([None, None, None, 4, 8]),
    length=st.sampled_from([None, None, 0.25, 1.0]),
    weighted_norm=st.sampled_from([False, False, True]),
    trained_layers=st.sampled_from([None, None, 3, 12]),
    sub_model_depth=st.sampled_from([None, None, 0.25, 1.0]),
    width_growth=st.sampled_from(
        ['fpi', 'aki', 'aki_literal', 'net2net', 'direct_copy']),
    depth_growth=st.sampled_from(['append', 'top', 'middle']))


def assert_sound(resolved, target, num_steps):
  assert [stage.index for stage in resolved] == list(range(len(resolved)))
  assert resolved[0].start_step == 0 and resolved[-1].end_step == num_steps
  assert all(stage.num_steps > 0 for stage in resolved)
  for before, after in itertools.pairwise(resolved):
    assert before.end_step == after.start_step
    for field in ('num_layers', 'hidden_size', 'num_heads', 'sequence_length'):
      assert (getattr(before.architecture, field)
              <= getattr(after.architecture, field))
    assert (before.architecture.query_pool_size
            >= after.architecture.query_pool_size)
  assert resolved[-1].architecture == target.untreated()
  assert resolved[-1].trained_part == 'all'
  for stage in resolved:
    if stage.sub_model_layers:
      assert stage.architecture.num_layers % stage.sub_model_layers == 0


@hypothesis.given(
    st.lists(_stages, max_size=4), st.integers(-1, 40))
@hypothesis.example([dict(fraction=1 / 3)] * 3, 10)
@hypothesis.example([dict(fraction=0.5), dict(steps=5)], 10)
def test_schedules_are_sound_or_refused(stages, num_steps):
  try:
    schedule = GrowthSchedule(
        [Stage(str(index), **stage) for index, stage in enumerate(stages)])
    resolved = schedule.resolve(TARGET, num_steps)
  except ValueError as error:
    assert '\n' not in str(error)
    return
  assert schedule.mistakes(TARGET, num_steps) == []
  assert_sound(resolved, TARGET, num_steps)


@hypothesis.given(
    st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    st.integers(6, 10**7))
def test_any_fractions_that_add_up_resolve(parts, num_steps):
  fractions = [part / sum(parts) for part in parts]
  schedule = GrowthSchedule(
      [Stage(str(i), fraction=f) for i, f in enumerate(fractions)])
  hypothesis.assume(min(fractions) * num_steps >= 1)
  resolved = schedule.resolve(TARGET, num_steps)
  assert_sound(resolved, TARGET, num_steps)
  for fraction, stage in zip(fractions, resolved):
    assert abs(stage.num_steps - fraction * num_steps) <= 1 + 1e-6


@pytest.mark.parametrize('schedule, expected', [
    (schedules.scratch(), [(0, 1_000_000, 12, 1, 1)]),
    (schedules.stack(), [
        (0, 300_000, 3, 1, 1), (300_000, 700_000, 6, 1, 1),
        (700_000, 1_000_000, 12, 1, 1)]),
    (schedules.compound_grow(), [
        (0, 200_000, 3, 4, 2), (200_000, 400_000, 6, 4, 2),
        (400_000, 700_000, 12, 4, 2), (700_000, 1_000_000, 12, 1, 1)]),
    (schedules.compound_grow(ffn_sharing=2, query_pool_size=3), [
        (0, 200_000, 3, 2, 3), (200_000, 400_000, 6, 2, 3),
        (400_000, 700_000, 12, 2, 3), (700_000, 1_000_000, 12, 1, 1)]),
])
def test_papers_schedules(schedule, expected):
  resolved = schedule.resolve(TARGET, 1_000_000)
  assert [
      (s.start_step, s.end_step, s.architecture.num_layers,
       s.architecture.ffn_sharing, s.architecture.query_pool_size)
      for s in resolved] == expected
  assert_sound(resolved, TARGET, 1_000_000)
  assert GrowthSchedule.from_json(schedule.to_json()) == schedule


def test_steps_are_kept_exactly_beside_fractions():
  schedule = GrowthSchedule((
      Stage('a', fraction=0.25), Stage('b', steps=3), Stage('c', fraction=0.45)))
  assert [s.num_steps for s in schedule.resolve(TARGET, 10)] == [3, 3, 4]


def test_every_mistake_is_listed_at_once():
  schedule = GrowthSchedule((
      Stage('odd', fraction=0.5, depth=0.3),
      Stage('wide', fraction=0.2, num_layers=6, ffn_sharing=5),
      Stage('deep', fraction=0.1, num_layers=9),
      Stage('low', fraction=0.1, num_layers=6, query_pool_size=2, ffn_rank=2)))
  assert schedule.mistakes(TARGET, 100) == [
      "stage 'odd' fraction 0.5, stage 'wide' fraction 0.2, stage 'deep' "
      "fraction 0.1, stage 'low' fraction 0.1: together 90 of num_steps 100; "
      'lengthen a stage by 10 steps (fraction 0.1)',
      "stage 'odd': depth 0.3 of 12 layers is 3.6 layers; choose a depth that "
      'gives a whole number, or give num_layers',
      "stage 'wide': ffn_sharing 5 does not divide inner_size 24; choose a "
      'divisor',
      "stage 'low' after 'deep': num_layers shrinks from 9 to 6; give at least 9",
      "stage 'low' after 'deep': query_pool_size rises from 1 to 2, which is a "
      'smaller model; give at most 1',
      "stage 'low' after 'deep': ffn_rank goes from None to 2, which is a "
      'smaller model; give None',
      "stage 'low': num_layers is 6 in the last stage; the run has to end at the "
      'untreated target, give 12',
      "stage 'low': query_pool_size is 2 in the last stage; the run has to end "
      'at the untreated target, give 1',
      "stage 'low': ffn_rank is 2 in the last stage; the run has to end at the "
      'untreated target, give None',
  ]
  with pytest.raises(ValueError) as caught:
    schedule.resolve(TARGET, 100)
  assert all(m in str(caught.value) for m in schedule.mistakes(TARGET, 100))


def test_a_stage_that_would_get_no_step_is_named():
  assert schedules.compound_grow().mistakes(TARGET, 3) == [
      "stage 'half': fraction 0.2 of num_steps 3 rounds to no step; enlarge the "
      'fraction or num_steps']
  assert schedules.scratch().mistakes(TARGET, 0) == [
      'num_steps is 0; give a whole number of at least 1']


def test_a_stage_lists_its_own_mistakes():
  with pytest.raises(ValueError) as caught:
    Stage('x', fraction=2, steps=0, depth=float('nan'), num_layers=1,
          ffn_sharing=True, depth_growth='up')
  assert str(caught.value) == (
      "Stage 'x': fraction is 2 and steps is 0; give exactly one of them; depth "
      'is nan and num_layers is 1; give one of them at most; fraction is 2; give '
      'a number above 0 and at most 1; depth is nan; give a number above 0 and '
      'at most 1; steps is 0; give a whole number of at least 1; ffn_sharing is '
      "True; give a whole number of at least 1; depth_growth is 'up'; choose one "
      "of ['append', 'identity', 'interleave', 'middle', 'top'].")


@pytest.mark.parametrize('make, message', [
    (lambda: GrowthSchedule(()), 'stages is empty; give at least one Stage'),
    (lambda: GrowthSchedule(3), 'stages is 3; give a list of Stage'),
    (lambda: GrowthSchedule(['a']), "holds .'a'.; give Stage objects only"),
    (lambda: GrowthSchedule([Stage('a', steps=1)] * 2),
     "stage 'a': name is used 2 times; give each stage its own"),
    (lambda: GrowthSchedule.from_json('{'), 'not JSON'),
    (lambda: GrowthSchedule.from_json('[1]'), 'has no list of stages'),
    (lambda: GrowthSchedule.from_json('{"stages": [{"nmae": "a"}]}'),
     r"unknown fields \['nmae'\]; a stage has"),
])
def test_schedules_that_are_none_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


BASE = Architecture(
    num_layers=12, hidden_size=768, num_heads=12, inner_size=3072,
    vocab_size=30522)


def shapes(schedule, *fields, target=BASE, **kwargs):
  stages = schedule.resolve(target, 400_000, **kwargs)
  return [(stage.num_steps, *(getattr(stage.architecture, f) for f in fields))
          for stage in stages]


def test_the_papers_schedules_of_bert_base():
  assert shapes(schedules.stack_bert(), 'num_layers') == [
      (50_000, 3), (70_000, 6), (280_000, 12)]
  assert shapes(schedules.mslt(), 'num_layers') == [
      (80_000, 3), (80_000, 6), (80_000, 9), (80_000, 12), (80_000, 12)]
  assert [stage.trained_layers
          for stage in schedules.mslt().resolve(BASE, 400_000)] == [
              None, 3, 3, 3, None]
  # 5 of 40 epochs with sub-models of 3, 6, 9 and 12 layers.
  assert [(stage.num_steps, stage.sub_model_layers, stage.width_growth)
          for stage in schedules.bert2bert().resolve(BASE, 400_000)] == [
              (50_000, 3, 'aki'), (350_000, None, 'fpi')]
  assert shapes(
      schedules.bert2bert(small_fraction=0.25), 'hidden_size', 'num_heads',
      'head_size', 'inner_size') == [
          (100_000, 512, 8, 64, 2048), (50_000, 768, 12, 64, 3072),
          (250_000, 768, 12, 64, 3072)]
  assert shapes(schedules.data_truncation(), 'sequence_length') == [
      (360_000, 128), (40_000, 512)]
  assert shapes(schedules.ffn_factorization(), 'ffn_rank') == [
      (200_000, 154), (200_000, None)]
  assert shapes(schedules.net2net(), 'num_layers', 'hidden_size') == [
      (120_000, 6, 384), (280_000, 12, 768)]
  assert shapes(schedules.direct_copy(), 'num_layers', 'hidden_size') == [
      (120_000, 12, 384), (280_000, 12, 768)]


def test_weighted_norms_are_ordinary_at_the_end_of_their_stage():
  _, weighted, full = schedules.bert2bert(
      small_fraction=0.25, weighted_norm=True).resolve(BASE, 400_000)
  assert weighted.architecture.norm_source_size == 512
  assert weighted.end_architecture == full.architecture
  # A checkpoint that a run starts from has taken no steps.
  source = schedules.ResolvedStage(-1, 'source', 0, 0, weighted.architecture)
  assert source.end_architecture == weighted.architecture


def test_weighted_norms_keep_the_width_before():
  schedule = schedules.bert2bert(small_fraction=0.25, weighted_norm=True)
  assert shapes(schedule, 'norm_source_size') == [
      (100_000, None), (50_000, 512), (250_000, None)]
  from_checkpoint = schedules.bert2bert(weighted_norm=True)
  source = BASE.replace(hidden_size=576, num_heads=9)
  assert shapes(from_checkpoint, 'norm_source_size', source=source) == [
      (50_000, 576), (350_000, None)]
  assert from_checkpoint.mistakes(BASE, 400_000) == [
      "stage 'sub_models': weighted_norm is set, but the first stage grows from "
      'nothing; give an init_checkpoint or drop it']
  assert schedules.bert2bert(weighted_norm=True).mistakes(
      BASE, 400_000, source=BASE) == [
          "stage 'sub_models': weighted_norm is set, but hidden_size 768 does not "
          'grow from 768; drop weighted_norm']
  # `grow` has widened the checkpoint; training takes its LayerNorms further.
  widened = BASE.replace(norm_source_size=512)
  assert shapes(from_checkpoint, 'norm_source_size', source=widened) == [
      (50_000, 512), (350_000, None)]
  twice = schedules.GrowthSchedule([
      schedules.Stage('first', fraction=0.5, weighted_norm=True),
      schedules.Stage('second', fraction=0.5, weighted_norm=True)])
  assert twice.mistakes(BASE, 10, source=widened)[0] == (
      "stage 'second': weighted_norm is set, but hidden_size 768 does not grow "
      'from 768; drop weighted_norm')


def test_a_checkpoint_that_does_not_lead_to_the_first_stage_is_refused():
  source = BASE.replace(num_layers=24, vocab_size=100)
  assert schedules.scratch().mistakes(BASE, 10, source=source) == [
      "stage 'full' after 'init_checkpoint': num_layers shrinks from 24 to 12; "
      'give at least 24',
      "stage 'full' after 'init_checkpoint': vocab_size changes from 100 to "
      '30522; keep 100']


def test_a_run_may_begin_shorter_and_pooled_than_its_checkpoint():
  short = schedules.data_truncation(short_fraction=0.5)
  assert shapes(short, 'sequence_length', source=BASE) == [
      (200_000, 128), (200_000, 512)]
  pooled = GrowthSchedule((
      Stage('pooled', fraction=0.5, query_pool_size=2),
      Stage('full', fraction=0.5)))
  assert shapes(pooled, 'query_pool_size', source=BASE) == [
      (200_000, 2), (200_000, 1)]
  # What has weights may still not shrink.
  shared = GrowthSchedule((
      Stage('shared', fraction=0.5, ffn_sharing=2),
      Stage('full', fraction=0.5)))
  mistake, = shared.mistakes(BASE, 10, source=BASE)
  assert 'stored_inner_size shrinks from 3072 to 1536' in mistake


@pytest.mark.parametrize('fields, message', [
    (dict(width=0.3), 'width 0.3 of 768 hidden units is 230.4 hidden units'),
    (dict(hidden_size=512),
     'num_heads 12 of head_size 64 do not make hidden_size 512; give both'),
    (dict(length=0.3), 'length 0.3 of 512 tokens is 153.6 tokens'),
    (dict(trained_layers=13), 'trained_layers is 13, but the stage has 12'),
    (dict(trained_depth=0.3), 'trained_depth 0.3 of 12 layers is 3.6 layers'),
    (dict(sub_model_layers=5), 'sub_model_layers 5 does not divide the 12'),
])
def test_shares_that_do_not_come_out_whole_are_refused(fields, message):
  schedule = GrowthSchedule(
      (Stage('a', fraction=0.5, **fields), Stage('b', fraction=0.5)))
  assert any(message in mistake for mistake in schedule.mistakes(BASE, 10))


@pytest.mark.parametrize('fields, message', [
    (dict(width=0.5, num_heads=6), 'width is 0.5 and num_heads is 6; give one'),
    (dict(trained_layers=3, sub_model_depth=0.25),
     'trained_layers and sub_model_depth exclude each other'),
    (dict(weighted_norm=1), 'weighted_norm is 1; give True or False'),
    (dict(width_growth='wide'), "width_growth is 'wide'; choose one of"),
    (dict(depth_growth=['top']), r"depth_growth is \['top'\]; choose one of"),
])
def test_fields_that_exclude_each_other_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    Stage('a', fraction=1.0, **fields)


@pytest.mark.parametrize('part', [
    dict(trained_depth=0.25), dict(sub_model_layers=3)])
def test_the_last_stage_trains_everything(part):
  mistakes = GrowthSchedule((Stage('a', fraction=1.0, **part),)).mistakes(
      BASE, 10)
  assert len(mistakes) == 1
  assert 'is 3 in the last stage; the run has to end with the whole model' in (
      mistakes[0])


def test_what_changes_between_stages_is_described():
  stages = schedules.mslt().resolve(BASE, 100)
  assert schedules.describe_growth(stages[0], stages[1]) == [
      'depth 3 -> 6 (top)', 'trained all -> top 3 layers']
  assert schedules.describe_growth(stages[3], stages[4]) == [
      'trained top 3 layers -> all']


@pytest.mark.parametrize('make, message', [
    (lambda: schedules.mslt('a fifth'),
     "joint_fraction is 'a fifth'; give a number of at least 0 and below 1."),
    (lambda: schedules.net2net(small_fraction=1.0),
     'small_fraction is 1.0; give a number of at least 0 and below 1.'),
    (lambda: schedules.bert2bert(small_fraction=0.1, sub_model_fraction=0.9),
     'small_fraction 0.1 and sub_model_fraction 0.9 leave no step to the last '
     'stage; give less.'),
])
def test_shares_that_leave_nothing_are_refused(make, message):
  with pytest.raises(ValueError) as caught:
    make()
  assert str(caught.value) == message
