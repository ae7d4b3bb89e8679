"""What to do about a run on a spot TPU, as a function of what is seen of it.

Everything is decided from the state of the queued resource and of the run on
worker 0. The loop remembers only counters, so that it can be ended and started
again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import enum
import json
from typing import Any

# Exit codes of `official_ext.train`: docs/survival.md.
DONE = 0
MISTAKE = 2
SAVED = 75

_COMING = ('ACCEPTED', 'CREATING', 'WAITING_FOR_RESOURCES', 'PROVISIONING')
_GOING = ('SUSPENDING', 'DELETING')
# A spot TPU that was taken away cannot be restarted, and a request that failed
# stays where it is: both have to be deleted.
_DEAD = ('FAILED', 'SUSPENDED')
_KNOWN = (*_COMING, *_GOING, *_DEAD, 'GONE', 'ACTIVE')


class Do(enum.Enum):
  """The steps of a run; each but the first two is a script."""

  WAIT = 'wait'
  STOP = 'stop'
  CREATE = 'create'
  SET_UP = 'set up'
  LAUNCH = 'launch'
  DELETE = 'delete'
  END = 'save and delete'


@dataclasses.dataclass(frozen=True)
class Seen:
  """One look.

  Attributes:
    resource: state of the queued resource; GONE or UNKNOWN.
    job: what worker 0 says of its run; None if it was not reached.
  """

  resource: str
  job: Mapping[str, Any] | None = None

  @classmethod
  def from_json(cls, text: str) -> Seen:
    """What `status.sh` printed; UNKNOWN if that is something else."""
    try:
      content = json.loads(text)
      job = content['job']
      if job is not None and not isinstance(job['state'], str):
        raise TypeError(job)
      return cls(str(content['resource']), job)
    except (ValueError, KeyError, TypeError):
      return cls('UNKNOWN')

  def __str__(self):
    if self.resource != 'ACTIVE':
      return self.resource
    if self.job is None:
      return 'ACTIVE, worker 0 does not answer'
    code = self.job.get('exit_code')
    state = self.job['state'].replace('_', ' ')
    return f'ACTIVE, {state}' + (f' with code {code}' if code is not None else '')


@dataclasses.dataclass(frozen=True)
class Limits:
  """When to give up.

  Attributes:
    creations: requests for a TPU.
    failures: steps and runs that failed, without a run that went well between.
    silent_looks: looks in a row at which worker 0 does not answer; then the TPU
      is taken for broken and replaced.
    blind_looks: looks in a row at which gcloud cannot tell the state.
    healthy_looks: looks in a row at which the run is running; then it goes well.
    poll_seconds: between two looks.
    longest_wait_seconds: the pause doubles with each failure up to this.
  """

  creations: int = 100
  failures: int = 5
  silent_looks: int = 10
  blind_looks: int = 60
  healthy_looks: int = 10
  poll_seconds: float = 60.0
  longest_wait_seconds: float = 1800.0


@dataclasses.dataclass(frozen=True)
class Counters:
  """What the loop remembers: counts, as in `Limits`."""

  creations: int = 0
  failures: int = 0
  silent_looks: int = 0
  blind_looks: int = 0
  healthy_looks: int = 0

  def after_failure(self) -> Counters:
    return dataclasses.replace(self, failures=self.failures + 1)


@dataclasses.dataclass(frozen=True)
class Decision:
  """What to do next.

  Attributes:
    do: the step.
    why: for the log.
    wait_seconds: before the next look.
    exit_code: of the loop, if the step is STOP.
    keep: whether the TPU must be left alone when the loop stops.
    is_failure: whether something went wrong that can go wrong again.
  """

  do: Do
  why: str = ''
  wait_seconds: float = 0
  exit_code: int = 0
  keep: bool = False
  is_failure: bool = False


def decide(seen: Seen, counters: Counters, limits: Limits,
           arguments: list[str]) -> tuple[Decision, Counters]:
  """The next step, and the counters with what was seen.

  Args:
    seen: how things are.
    counters: of the looks before.
    limits: when to give up.
    arguments: of the run; another run on the TPU is left alone.
  """
  counters = _count(seen, counters, limits)
  decision = _step(seen, counters, limits, arguments)
  if decision.do in (Do.WAIT, Do.STOP):
    return decision, counters
  if decision.is_failure:
    counters = counters.after_failure()
  if counters.failures >= limits.failures:
    return Decision(
        Do.STOP, f'{counters.failures} failures without a run that went well '
        f'between; the last: {decision.why}', exit_code=1), counters
  wait_seconds = pause(counters.failures, limits)
  if decision.do is Do.CREATE:
    if counters.creations >= limits.creations:
      return Decision(
          Do.STOP, f'{counters.creations} TPUs were requested, the limit',
          exit_code=1), counters
    counters = dataclasses.replace(counters, creations=counters.creations + 1)
  if decision.do in (Do.CREATE, Do.DELETE):
    counters = dataclasses.replace(counters, silent_looks=0)
    # The API may tell the state of before for a while.
    wait_seconds = max(wait_seconds, limits.poll_seconds)
  return dataclasses.replace(decision, wait_seconds=wait_seconds), counters


def pause(failures: int, limits: Limits) -> float:
  """Seconds before the next look: doubled by each failure, up to a limit."""
  if not failures:
    return 0
  # The exponent is bounded: what follows is above any limit.
  return min(limits.poll_seconds * 2 ** min(failures - 1, 30),
             limits.longest_wait_seconds)


def _is_ours(job: Mapping[str, Any], arguments: list[str]) -> bool:
  return job.get('arguments') == arguments


def _count(seen: Seen, counters: Counters, limits: Limits) -> Counters:
  is_active = seen.resource == 'ACTIVE'
  is_running = is_active and seen.job and seen.job['state'] == 'running'
  healthy_looks = counters.healthy_looks + 1 if is_running else 0
  return dataclasses.replace(
      counters,
      failures=(
          0 if healthy_looks >= limits.healthy_looks else counters.failures),
      healthy_looks=healthy_looks,
      silent_looks=(
          counters.silent_looks + 1 if is_active and seen.job is None else 0),
      blind_looks=(
          0 if seen.resource in _KNOWN else counters.blind_looks + 1))


def _step(seen: Seen, counters: Counters, limits: Limits,
          arguments: list[str]) -> Decision:
  """The step by itself, without limits on how often."""
  wait = Decision(Do.WAIT, wait_seconds=limits.poll_seconds)
  if seen.resource == 'GONE':
    return Decision(Do.CREATE, 'there is no TPU')
  if seen.resource in _DEAD:
    return Decision(Do.DELETE, f'it is {seen.resource}',
                    is_failure=seen.resource == 'FAILED')
  if seen.resource in _COMING + _GOING:
    return wait
  if seen.resource != 'ACTIVE':
    # gcloud could not tell, or told something new: neither create nor delete.
    if counters.blind_looks >= limits.blind_looks:
      return Decision(
          Do.STOP, f'gcloud told no known state at {counters.blind_looks} looks',
          exit_code=1, keep=True)
    return wait
  if seen.job is None:
    if counters.silent_looks >= limits.silent_looks:
      return Decision(
          Do.DELETE, f'worker 0 was silent at {counters.silent_looks} looks',
          is_failure=True)
    return wait
  return _step_on_host(seen.job, arguments, wait)


def _step_on_host(job: Mapping[str, Any], arguments: list[str],
                  wait: Decision) -> Decision:
  state, code = job['state'], job.get('exit_code')
  if state == 'not_installed':
    return Decision(Do.SET_UP, 'the hosts are not set up')
  if state == 'running':
    if _is_ours(job, arguments):
      return wait
    return Decision(
        Do.STOP, f'another run is on this TPU: {job.get("arguments")}; stop it '
        'with tear_down.sh, or take another --name', exit_code=MISTAKE, keep=True)
  if state == 'none' or not _is_ours(job, arguments):
    return Decision(Do.LAUNCH, 'nothing is running')
  if state == 'lost':
    return Decision(
        Do.LAUNCH, 'worker 0 was restarted under the run', is_failure=True)
  if code == DONE:
    return Decision(Do.STOP, 'the run is done')
  if code == MISTAKE:
    return Decision(
        Do.STOP, 'the configuration has mistakes; mend them and give the same '
        'command', exit_code=MISTAKE)
  if code == SAVED:
    return Decision(Do.LAUNCH, 'the run was told to end, and saved')
  return Decision(
      Do.LAUNCH, f'the run failed with code {code}', is_failure=True)
