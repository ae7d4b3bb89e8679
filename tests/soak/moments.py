"""The moments at which the soak kills a run, seen from outside of it.

The product knows nothing of them: they are told by the files that it writes.
"""

import glob
import json
import os
import re
import time

START_UP = 'start-up'
TRAINING = 'training, evaluating, reporting'
SAVING = 'writing a checkpoint'
GROWING = 'in a growth'
GROWN = 'between a growth and its checkpoint'
# In the order of the table.
MOMENTS = (START_UP, TRAINING, SAVING, GROWING, GROWN)

_POLL_SECONDS = 0.001


def records(run_dir: str, name: str) -> list[dict]:
  """The whole lines of a JSON-lines file of a run that may be going on."""
  found = []
  try:
    with open(os.path.join(run_dir, name), 'rb') as file:
      for line in file.read().splitlines():
        found.append(json.loads(line))
  except (FileNotFoundError, ValueError):
    pass
  return found


def newest_step(run_dir: str) -> int:
  """Step of the newest sealed checkpoint; -1 if there is none."""
  seals = glob.glob(os.path.join(run_dir, 'checkpoints', 'ckpt-*.seal.json'))
  return max((int(re.search(r'ckpt-(\d+)', path)[1]) for path in seals),
             default=-1)


def moment_of(run_dir: str, start_ns: int, start_step: int) -> str:
  """What a process was doing when it was killed, by what it left.

  Args:
    run_dir: the run directory.
    start_ns: wall clock before the process started.
    start_step: `newest_step` at that time.
  """
  metrics = os.path.join(run_dir, 'metrics.jsonl')
  if os.path.exists(metrics) and os.stat(metrics).st_mtime_ns < start_ns:
    # The first thing that a session does to it is to cut it back, after it has
    # tidied up the checkpoints.
    return START_UP
  if _is_saving(run_dir):
    return SAVING
  lines = records(run_dir, 'metrics.jsonl')
  if not any(line['step'] > start_step for line in lines):
    return START_UP
  if lines[-1].get('moment') in ('before_growth', 'after_growth'):
    step = lines[-1]['step']
    if all(growth['step'] != step
           for growth in records(run_dir, 'growth.jsonl')):
      return GROWING
    if newest_step(run_dir) < step:
      return GROWN
  return TRAINING


def wait_for_saving(run_dir: str, is_running) -> bool:
  """Returns when a checkpoint is begun; false if the process ended before."""
  # What an earlier kill has left is deleted first.
  return _wait(lambda: not _is_saving(run_dir), is_running) and _wait(
      lambda: _is_saving(run_dir), is_running)


def wait_for_growth(run_dir: str, is_running) -> bool:
  """Returns when the evaluation before a growth has been recorded."""
  known = len(records(run_dir, 'metrics.jsonl'))

  def begins():
    lines = records(run_dir, 'metrics.jsonl')
    return lines and len(lines) != known and (
        lines[-1].get('moment') == 'before_growth')
  return _wait(begins, is_running)


def wait_for_growth_record(run_dir: str, is_running) -> bool:
  """Returns when a growth has been recorded."""
  path = os.path.join(run_dir, 'growth.jsonl')

  def size():
    return os.path.getsize(path) if os.path.exists(path) else 0
  # A session begins by cutting the file back.
  known = [size()]

  def grown():
    now = size()
    if now < known[0]:
      known[0] = now
    return now > known[0]
  return _wait(grown, is_running)


def _wait(event, is_running) -> bool:
  while not event():
    if not is_running():
      return False
    time.sleep(_POLL_SECONDS)
  return True


def _is_saving(run_dir: str) -> bool:
  """Whether there are files of a checkpoint that is not sealed."""
  names = [os.path.basename(path) for path in glob.glob(
      os.path.join(run_dir, 'checkpoints', 'ckpt-*'))]
  steps = {re.match(r'ckpt-(\d+)', name)[1] for name in names}
  return any(f'ckpt-{step}.seal.json' not in names for step in steps)

