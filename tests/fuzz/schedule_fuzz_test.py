"""Any fields make an architecture, a stage, a schedule, or a clear refusal."""

import dataclasses
import inspect
import itertools
import json

import hypothesis
from hypothesis import strategies as st

from official_ext import schedules
from official_ext.configuration import CONFIGURABLES
from official_ext.growth import Architecture
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from tests.fuzz.cases import check_refusal
from tests.fuzz.cases import counted
from tests.fuzz.cases import JUNK

_SOUND = dict(num_layers=4, hidden_size=8, num_heads=2, inner_size=16,
              vocab_size=40, max_positions=24)
_FIELDS = [field.name for field in dataclasses.fields(Architecture)]
_STAGE_FIELDS = [field.name for field in dataclasses.fields(Stage)]
_PAPERS = sorted(set(CONFIGURABLES) - {
    'train', 'model', 'growth_schedule', 'stage'})


@hypothesis.given(st.dictionaries(st.sampled_from(_FIELDS), JUNK, max_size=3))
@counted
def test_architectures(changes):
  try:
    architecture = Architecture(**(_SOUND | changes))
  except ValueError as error:
    check_refusal(error, changes)
    return
  again = Architecture(**json.loads(json.dumps(dataclasses.asdict(architecture))))
  assert again == architecture
  assert not architecture.untreated().is_treated
  assert 1 <= architecture.query_length(1) <= max(
      3, architecture.sequence_length + 1)


@hypothesis.given(
    st.dictionaries(st.sampled_from(_STAGE_FIELDS), JUNK, max_size=3))
@counted
def test_stages(changes):
  try:
    stage = Stage(**({'name': 'a', 'fraction': 0.5} | changes))
  except ValueError as error:
    check_refusal(error, {*changes, 'steps', 'fraction'})
    return
  try:
    architecture = stage.architecture(Architecture(**_SOUND))
  except ValueError as error:
    check_refusal(error, {*changes, *_FIELDS})
    return
  assert architecture.num_layers >= 1


_COUNT = st.one_of(st.integers(1, 32), st.integers(1, 10**9))
_STAGES = st.fixed_dictionaries({}, optional={
    'fraction': st.sampled_from([1 / 3, 0.25, 0.5, 0.1, 1.0]),
    'steps': _COUNT, 'depth': st.sampled_from([0.25, 0.5, 1.0, 1 / 3]),
    'num_layers': st.integers(1, 9), 'width': st.sampled_from([0.5, 0.25, 2 / 3]),
    'hidden_size': st.integers(1, 32), 'num_heads': st.integers(1, 5),
    'ffn_sharing': st.integers(1, 5), 'query_pool_size': st.integers(1, 5),
    'ffn_rank': st.integers(1, 40), 'sequence_length': st.integers(1, 40),
    'length': st.sampled_from([0.5, 0.25]), 'weighted_norm': st.booleans(),
    'depth_growth': st.sampled_from(['append', 'top', 'identity', 'middle']),
    'width_growth': st.sampled_from(
        ['fpi', 'aki', 'aki_literal', 'net2net', 'direct_copy']),
    'trained_layers': st.integers(1, 5), 'sub_model_layers': st.integers(1, 5),
})


@hypothesis.given(
    st.lists(_STAGES, max_size=4), st.one_of(_COUNT, JUNK),
    st.booleans(), st.sampled_from(['bert', 'gpt']), st.booleans())
@counted
def test_schedules(fields, num_steps, ends_whole, family, has_source):
  target = Architecture(**_SOUND, family=family)
  source = Architecture(**(_SOUND | dict(num_layers=2, hidden_size=4, num_heads=1,
                                         inner_size=8)), family=family)
  if ends_whole:
    fields = [*fields, {'fraction': 0.5}]
  try:
    schedule = GrowthSchedule(tuple(
        Stage(**{'name': f's{i}', **stage}) for i, stage in enumerate(fields)))
  except ValueError as error:
    check_refusal(error, {'stages', *_STAGE_FIELDS})
    return
  assert GrowthSchedule.from_json(schedule.to_json()) == schedule
  lines = schedule.mistakes(target, num_steps, source if has_source else None)
  if lines:
    assert all(line.strip() and '\n' not in line for line in lines)
    assert all('stage' in line or 'num_steps' in line for line in lines), lines
    return
  stages = schedule.resolve(target, num_steps, source if has_source else None)
  assert stages[0].start_step == 0 and stages[-1].end_step == num_steps
  assert all(before.end_step == after.start_step
             for before, after in itertools.pairwise(stages))
  assert all(stage.num_steps >= 1 for stage in stages)
  assert stages[-1].end_architecture == target


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(),
              st.text(max_size=4), st.sampled_from(['stages', 'name'])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
        st.one_of(st.sampled_from(['stages', *_STAGE_FIELDS]),
                  st.text(max_size=4)), inner, max_size=4)), max_leaves=10)


@hypothesis.given(st.one_of(
    _JSON.map(json.dumps), st.text(max_size=40),
    st.lists(st.dictionaries(st.sampled_from(_STAGE_FIELDS), JUNK.filter(
        lambda value: not isinstance(value, (bytes, complex))), max_size=4)).map(
            lambda stages: json.dumps({'stages': stages}))))
@counted
def test_schedules_from_json(text):
  try:
    schedule = GrowthSchedule.from_json(text)
  except ValueError as error:
    check_refusal(error, {'from_json', 'GrowthSchedule', 'Stage'})
  else:
    assert GrowthSchedule.from_json(schedule.to_json()) == schedule


@hypothesis.given(st.data())
@counted
def test_the_papers_schedules(data):
  name = data.draw(st.sampled_from(_PAPERS))
  function = getattr(schedules, name)
  parameters = list(inspect.signature(function).parameters)
  changes = data.draw(st.dictionaries(
      st.sampled_from(parameters), JUNK, max_size=3) if parameters else
      st.just({}))
  try:
    schedule = function(**changes)
  except ValueError as error:
    # A share of the run is called so in the function, and fraction in a stage.
    stage_fields = {name for change in changes for name in _STAGE_FIELDS
                    if name in change}
    check_refusal(error, {*changes, *stage_fields})
    return
  assert isinstance(schedule, GrowthSchedule)
  for line in schedule.mistakes(Architecture(**_SOUND), 100):
    assert '\n' not in line
