"""The worker processes of a run on several hosts, as TF_CONFIG names them."""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any

from official_ext.mistakes import raise_if_any

VARIABLE = 'TF_CONFIG'
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}')


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Workers that train one model together.

  Attributes:
    addresses: `host:port` of every worker, the chief first.
    index: which of them this process is.
  """

  addresses: tuple[str, ...]
  index: int

  def name(self, index: int) -> str:
    """How messages call a worker."""
    return f'worker {index} ({self.addresses[index]})'


def read_cluster(environment: Mapping[str, str] = os.environ
                 ) -> Cluster | None:
  """The cluster that this process belongs to; None if it is alone.

  Args:
    environment: where `TF_CONFIG` is looked up.

  Raises:
    ConfigurationError: a ValueError that lists all that is wrong with it.
  """
  text = environment.get(VARIABLE, '')
  if not text.strip():
    return None
  try:
    config = json.loads(text)
  except json.JSONDecodeError as error:
    raise_if_any([f'{VARIABLE} is not JSON ({error}); it looks like {_EXAMPLE}'])
  if not isinstance(config, dict) or not isinstance(
      config.get('cluster', {}), dict):
    raise_if_any([f'{VARIABLE} is {text!r}; it looks like {_EXAMPLE}'])
  jobs = config.get('cluster', {})
  found = _job_mistakes(jobs)
  if not found:
    found = _task_mistakes(jobs, config.get('task'))
  raise_if_any(found)
  addresses = (*jobs.get('chief', ()), *jobs.get('worker', ()))
  if len(addresses) < 2:
    return None
  task = config['task']
  first = len(jobs.get('chief', ())) if task['type'] == 'worker' else 0
  return Cluster(addresses, first + int(task['index']))


def _job_mistakes(jobs: Mapping[str, Any]) -> list[str]:
  found = [
      f'{VARIABLE} has the job {job!r}; all processes train alike here: give '
      "'worker', and 'chief' if you like"
      for job in jobs if job not in ('chief', 'worker')]
  for job in ('chief', 'worker'):
    addresses = jobs.get(job, [])
    if not isinstance(addresses, list) or not all(
        _is_address(address) for address in addresses):
      found.append(f'{VARIABLE}: {job} is {addresses!r}; give a list of '
                   "addresses such as 'host0:2222'")
  if not found:
    everyone = [*jobs.get('chief', ()), *jobs.get('worker', ())]
    found += [
        f'{VARIABLE}: {address} is there twice; each worker needs an address of '
        'its own'
        for address in sorted(set(everyone)) if everyone.count(address) > 1]
    if len(jobs.get('chief', ())) > 1:
      found.append(f'{VARIABLE}: {len(jobs["chief"])} chiefs; give one')
  return found


def _task_mistakes(jobs: Mapping[str, Any], task: Any) -> list[str]:
  if not any(jobs.values()):
    return []
  if not isinstance(task, dict):
    return [f'{VARIABLE} has no task, so which worker this process is remains '
            f'unknown; it looks like {_EXAMPLE}']
  job, index = task.get('type'), task.get('index')
  if job not in jobs:
    return [f'{VARIABLE}: task.type is {job!r}; give one of '
            f'{", ".join(map(repr, jobs))}']
  count = len(jobs[job])
  if not str(index).isdecimal() or int(index) >= count:
    return [f'{VARIABLE}: task.index is {index!r}, but there are {count} of '
            f'{job!r}; give a whole number from 0 to {count - 1}']
  return []


def _is_address(address: Any) -> bool:
  if not isinstance(address, str):
    return False
  host, _, port = address.rpartition(':')
  return bool(host) and port.isdecimal() and 0 < int(port) < 65536
