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
    depth_growth=st.sampled_from(['append', 'top']))


def assert_sound(resolved, target, num_steps):
  assert [stage.index for stage in resolved] == list(range(len(resolved)))
  assert resolved[0].start_step == 0 and resolved[-1].end_step == num_steps
  assert all(stage.num_steps > 0 for stage in resolved)
  for before, after in itertools.pairwise(resolved):
    assert before.end_step == after.start_step
    for field in ('num_layers', 'stored_inner_size'):
      assert (getattr(before.architecture, field)
              <= getattr(after.architecture, field))
    assert (before.architecture.query_pool_size
            >= after.architecture.query_pool_size)
  assert resolved[-1].architecture == target.untreated()


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
        (0, 200_000, 3, 2, 2), (200_000, 400_000, 6, 2, 2),
        (400_000, 700_000, 12, 2, 2), (700_000, 1_000_000, 12, 1, 1)]),
    (schedules.compound_grow(ffn_sharing=4, query_pool_size=3), [
        (0, 200_000, 3, 4, 3), (200_000, 400_000, 6, 4, 3),
        (400_000, 700_000, 12, 4, 3), (700_000, 1_000_000, 12, 1, 1)]),
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
      "of ['append', 'top'].")


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
