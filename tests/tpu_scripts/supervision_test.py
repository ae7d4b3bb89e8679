"""The state machine that keeps a run going: every state, and every limit."""

import dataclasses
import importlib.util
import itertools
import pathlib
import sys

import hypothesis
from hypothesis import strategies as st
import pytest

from official_ext import command

# Under Bazel this file is a link to the one in the repository.
_SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / 'tpu_scripts'


def _load(name: str):
  """A module of tpu_scripts, which is no package."""
  if name in sys.modules:
    return sys.modules[name]
  spec = importlib.util.spec_from_file_location(name, _SCRIPTS / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  spec.loader.exec_module(module)
  return module


supervision = _load('supervision')
Counters, Do, Limits, Seen = (
    supervision.Counters, supervision.Do, supervision.Limits, supervision.Seen)

ARGUMENTS = ['--model_dir', 'gs://b/r']
LIMITS = Limits(
    creations=3, failures=2, silent_looks=3, blind_looks=4, healthy_looks=2,
    poll_seconds=60, longest_wait_seconds=300)


def job(state, exit_code=None, arguments=tuple(ARGUMENTS)):
  content = {'state': state, 'arguments': list(arguments)}
  return Seen('ACTIVE', content if exit_code is None
              else {**content, 'exit_code': exit_code})


def decide(seen, counters=Counters()):
  return supervision.decide(seen, counters, LIMITS, ARGUMENTS)


@pytest.mark.parametrize('seen, do, failures, exit_code', [
    (Seen('GONE'), Do.CREATE, 0, 0),
    (Seen('ACCEPTED'), Do.WAIT, 0, 0),
    (Seen('CREATING'), Do.WAIT, 0, 0),
    (Seen('WAITING_FOR_RESOURCES'), Do.WAIT, 0, 0),
    (Seen('PROVISIONING'), Do.WAIT, 0, 0),
    (Seen('FAILED'), Do.DELETE, 1, 0),
    (Seen('SUSPENDING'), Do.WAIT, 0, 0),
    (Seen('SUSPENDED'), Do.DELETE, 0, 0),
    (Seen('DELETING'), Do.WAIT, 0, 0),
    (Seen('UNKNOWN'), Do.WAIT, 0, 0),
    (Seen('SOMETHING_NEW'), Do.WAIT, 0, 0),
    (Seen('ACTIVE'), Do.WAIT, 0, 0),
    (Seen('ACTIVE', {'state': 'not_installed'}), Do.SET_UP, 0, 0),
    (Seen('ACTIVE', {'state': 'none'}), Do.LAUNCH, 0, 0),
    (job('running'), Do.WAIT, 0, 0),
    (job('lost'), Do.LAUNCH, 1, 0),
    (job('exited', 0), Do.STOP, 0, 0),
    (job('exited', 2), Do.STOP, 0, 2),
    (job('exited', 75), Do.LAUNCH, 0, 0),
    (job('exited', 1), Do.LAUNCH, 1, 0),
    (job('exited', 137), Do.LAUNCH, 1, 0),
    # What another command left behind is no answer to this one.
    (job('exited', 0, ['other']), Do.LAUNCH, 0, 0),
    (job('exited', 2, ['other']), Do.LAUNCH, 0, 0),
    (job('lost', arguments=['other']), Do.LAUNCH, 0, 0),
    (job('running', arguments=['other']), Do.STOP, 0, 2),
], ids=str)
def test_every_state(seen, do, failures, exit_code):
  decision, counters = decide(seen)
  assert (decision.do, counters.failures, decision.exit_code) == (
      do, failures, exit_code)
  assert decision.why or do is Do.WAIT


def test_the_tpu_of_another_run_is_left_alone():
  decision, _ = decide(job('running', arguments=['other']))
  assert decision.keep
  assert "another run is on this TPU: ['other']" in decision.why
  assert not decide(job('exited', 0))[0].keep


def test_exit_codes_are_those_of_the_commands():
  assert (supervision.DONE, supervision.MISTAKE, supervision.SAVED) == (
      0, command.USAGE_EXIT_CODE, command.STOPPED_EXIT_CODE)


class TestLimits:

  def test_failures(self):
    _, counters = decide(job('exited', 1))
    decision, counters = decide(job('exited', 1), counters)
    assert (decision.do, decision.exit_code) == (Do.STOP, 1)
    assert decision.why == (
        '2 failures without a run that went well between; the last: the run '
        'failed with code 1')

  def test_a_run_that_goes_well_forgives(self):
    _, counters = decide(job('exited', 1))
    for _ in range(LIMITS.healthy_looks):
      decision, counters = decide(job('running'), counters)
      assert decision.do is Do.WAIT
    assert counters.failures == 0

  def test_a_run_that_falls_at_once_does_not(self):
    _, counters = decide(job('exited', 1))
    _, counters = decide(job('running'), counters)
    _, counters = decide(job('lost'), counters)
    assert counters.failures == 2

  def test_preemptions_are_no_failures(self):
    counters = Counters()
    for _ in range(LIMITS.creations):
      decision, counters = decide(Seen('GONE'), counters)
      assert decision.do is Do.CREATE
      decision, counters = decide(Seen('SUSPENDED'), counters)
      assert decision.do is Do.DELETE
    decision, counters = decide(Seen('GONE'), counters)
    assert decision.do is Do.STOP
    assert decision.why == '3 TPUs were requested, the limit'
    assert counters.failures == 0

  def test_a_silent_worker_is_replaced(self):
    counters = Counters()
    steps = []
    for _ in range(LIMITS.silent_looks):
      decision, counters = decide(Seen('ACTIVE'), counters)
      steps.append(decision.do)
    assert steps == [Do.WAIT, Do.WAIT, Do.DELETE]
    assert (counters.silent_looks, counters.failures) == (0, 1)

  def test_a_worker_that_answers_now_and_then_is_not(self):
    counters = Counters()
    for seen in itertools.islice(
        itertools.cycle([Seen('ACTIVE'), Seen('ACTIVE'), job('running')]), 30):
      decision, counters = decide(seen, counters)
      assert decision.do is Do.WAIT

  def test_without_gcloud_nothing_is_created_or_deleted(self):
    counters = Counters()
    steps = []
    for _ in range(LIMITS.blind_looks):
      decision, counters = decide(Seen('UNKNOWN'), counters)
      steps.append(decision.do)
    assert steps == [Do.WAIT, Do.WAIT, Do.WAIT, Do.STOP]
    assert decision.keep and decision.exit_code == 1

  def test_looks_without_gcloud_do_not_make_a_worker_silent(self):
    counters = Counters()
    for _ in range(LIMITS.silent_looks):
      _, counters = decide(Seen('UNKNOWN'), counters)
    decision, _ = decide(Seen('ACTIVE'), counters)
    assert decision.do is Do.WAIT

  def test_pauses_double_up_to_a_limit(self):
    assert [supervision.pause(n, LIMITS) for n in (0, 1, 2, 3, 4, 10**6)] == [
        0, 60, 120, 240, 300, 300]


@pytest.mark.parametrize('text', [
    '', 'no', '[]', '{}', '{"resource": "ACTIVE"}',
    '{"resource": "ACTIVE", "job": 3}', '{"resource": "ACTIVE", "job": {}}'])
def test_an_answer_that_is_none(text):
  assert Seen.from_json(text) == Seen('UNKNOWN')


_SEEN = st.one_of(
    st.sampled_from([
        'GONE', 'ACCEPTED', 'CREATING', 'WAITING_FOR_RESOURCES', 'PROVISIONING',
        'FAILED', 'SUSPENDING', 'SUSPENDED', 'DELETING', 'UNKNOWN', 'ACTIVE', 'X'
    ]).map(Seen),
    st.sampled_from(['none', 'not_installed', 'running', 'lost', 'new']).map(job),
    st.integers(-300, 300).map(lambda code: job('exited', code)))


@hypothesis.given(st.lists(_SEEN, max_size=60))
def test_whatever_happens(sequence):
  counters = Counters()
  for seen in sequence:
    decision, counters = decide(seen, counters)
    assert 0 <= decision.wait_seconds <= LIMITS.longest_wait_seconds
    # A TPU is requested only where there is none, at most so often; what works
    # is never deleted.
    if decision.do is Do.CREATE:
      assert seen.resource == 'GONE'
    if decision.do is Do.DELETE:
      assert seen.resource in ('FAILED', 'SUSPENDED') or seen.job is None
    if decision.do in (Do.SET_UP, Do.LAUNCH):
      assert seen.resource == 'ACTIVE' and seen.job['state'] != 'running'
    assert counters.creations <= LIMITS.creations
    if decision.do is Do.STOP:
      assert decision.why
      return
    assert counters.failures < LIMITS.failures


class TestLoop:

  def _supervise(self, looks, succeeds=lambda step: True, **options):
    supervise = _load('supervise').supervise
    steps, lines, slept = [], [], []

    def carry_out(step):
      steps.append(step)
      return succeeds(step)

    looks = iter(looks)
    code = supervise(
        lambda: next(looks), carry_out, ARGUMENTS,
        dataclasses.replace(LIMITS, failures=3), say=lines.append,
        sleep=slept.append, **options)
    return code, steps, lines, slept

  def test_it_deletes_at_the_end(self):
    code, steps, lines, _ = self._supervise([job('exited', 0)])
    assert (code, steps) == (0, [Do.DELETE])
    assert lines == ['ACTIVE, exited with code 0: stop (the run is done)']

  def test_unless_it_is_kept(self):
    assert self._supervise([job('exited', 0)], keep=True)[1] == []

  def test_it_says_if_it_cannot_delete(self):
    code, _, lines, _ = self._supervise(
        [job('exited', 2)], succeeds=lambda step: False)
    assert code == 2
    assert lines[-1] == (
        'the TPU could not be deleted and may cost money: tear_down.sh')

  def test_what_the_run_said_last_is_shown(self):
    seen = Seen('ACTIVE', {'state': 'exited', 'exit_code': 2,
                           'arguments': ARGUMENTS, 'last_lines': ['error: x']})
    assert '  | error: x' in self._supervise([seen])[2]

  def test_steps_that_fail_count(self):
    code, steps, lines, slept = self._supervise(
        [Seen('GONE')] * 4, succeeds=lambda step: False)
    assert (code, steps) == (1, [Do.CREATE] * 3 + [Do.DELETE])
    assert lines[1] == 'create failed'
    assert slept == [60, 120, 240]

  def test_the_hours_end(self):
    times = iter(range(10))
    code, _, lines, _ = self._supervise(
        [Seen('PROVISIONING')] * 9, deadline=3, clock=lambda: next(times))
    assert code == 1
    assert lines == ['PROVISIONING: wait', 'PROVISIONING: stop (the hours are over)']

  def test_a_run_may_save_when_the_hours_end(self):
    times = iter(range(10))
    code, steps, lines, _ = self._supervise(
        [job('running')] * 9, deadline=3, clock=lambda: next(times))
    assert (code, steps) == (1, [Do.END])
    assert lines[-1] == 'ACTIVE, running: stop (the hours are over)'
