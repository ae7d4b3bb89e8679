"""Notices that another worker of the run is gone, whatever TensorFlow does.

TensorFlow's coordination service notices it too, some time after the last
heartbeat (`coordination.py` says how long), and makes the collective operation
that is under way fail. But its error seldom names the worker, never the mend,
and reaches nobody while the program waits in something else than such an
operation. So a thread looks after the others by itself, in the simplest way
that needs no port and no message of its own: it opens a connection to the
address that each worker's TensorFlow server listens at, and closes it. A worker
that ended is refused at once, and a host that is gone does not answer. A
machine that is merely busy still takes connections, since its kernel does.
"""

import atexit
from collections.abc import Callable
import os
import socket
import sys
import threading
import time

from official_ext.training.cluster import Cluster

# The run stopped because of another worker; the same command goes on with it.
WORKER_LOST_EXIT_CODE = 76

_PROBE_INTERVAL_SECONDS = 3.0
_PROBE_TIMEOUT_SECONDS = 5.0
# Probes in a row that must fail: a crowded network loses one now and then.
_PROBES_TO_BELIEVE = 3
# What the program gets to end by itself before it is ended.
_GRACE_SECONDS = 15.0
_REMINDER_SECONDS = 10.0
# Each reminder is this many times as late as the one before.
_REMINDER_GROWTH = 3.0


class WorkerWatch:
  """A thread that looks after the other workers.

  Until a worker has been seen for the first time it is waited for, as long as
  it takes, and who is waited for is said. Once a worker that was there is gone,
  the program gets `grace_seconds` to end; then the process is ended, because
  it may be waiting for that worker inside TensorFlow.

  Args:
    cluster: the workers.
    probe_interval_seconds: between two looks at all of them.
    grace_seconds: see above.
    reminder_seconds: after which time it is first said who is waited for.
    say: is given each line for the user.
    end_process: is given the exit code.
    answers: whether somebody listens at an address.

  Attributes:
    seen: the workers that have been there.
  """

  def __init__(self, cluster: Cluster, *,
               probe_interval_seconds: float = _PROBE_INTERVAL_SECONDS,
               grace_seconds: float = _GRACE_SECONDS,
               reminder_seconds: float = _REMINDER_SECONDS,
               say: Callable[[str], None] | None = None,
               end_process: Callable[[int], None] = os._exit,
               answers: Callable[[str], bool] | None = None):
    self._cluster = cluster
    self._probe_interval_seconds = probe_interval_seconds
    self._grace_seconds = grace_seconds
    self._reminder_seconds = reminder_seconds
    self._say = say or _say
    self._end_process = end_process
    self._answers = answers or _answers
    self._others = [index for index in range(len(cluster.addresses))
                    if index != cluster.index]
    self.seen = set()
    self._lost = None
    self._is_lost = threading.Event()
    self._is_told = threading.Event()
    self._should_stop = threading.Event()
    self._thread = threading.Thread(
        target=self._run, name='worker_watch', daemon=True)

  def start(self) -> None:
    self._thread.start()

  def stop(self) -> None:
    """Call it when all workers are through, before they leave."""
    self._should_stop.set()
    if self._thread.is_alive():
      self._thread.join()

  def wait_for_loss(self, timeout_seconds: float) -> str | None:
    """What to tell the user once a worker is gone; None if all stay there.

    Whoever gets the line tells it; the thread does not tell it again, but still
    ends the process if that does not end by itself.
    """
    if not self._is_lost.wait(timeout_seconds):
      return None
    self._is_told.set()
    return self.message(self._lost)

  def message(self, index: int) -> str:
    return lost_message(
        f'{self._cluster.name(index)} is gone', 'its own output says why')

  def _run(self) -> None:
    begin, next_reminder = time.monotonic(), self._reminder_seconds
    misses = dict.fromkeys(self._others, 0)
    while not self._should_stop.wait(self._probe_interval_seconds):
      for index in self._others:
        if self._answers(self._cluster.addresses[index]):
          misses[index] = 0
          self.seen.add(index)
        elif index in self.seen:
          misses[index] += 1
          if misses[index] >= _PROBES_TO_BELIEVE:
            self._lose(index)
            return
      missing = [index for index in self._others if index not in self.seen]
      waited = time.monotonic() - begin
      if missing and waited > next_reminder:
        next_reminder = waited * _REMINDER_GROWTH
        self._say(
            f'waiting for {", ".join(map(self._cluster.name, missing))}; start '
            'the same command there')

  def _lose(self, index: int) -> None:
    self._lost = index
    self._is_lost.set()
    if self._should_stop.wait(self._grace_seconds):
      return
    if not self._is_told.is_set():
      self._say(f'error: {self.message(index)}')
    self._end_process(WORKER_LOST_EXIT_CODE)


def lost_message(what: str, where: str) -> str:
  """One line: what happened to the other workers, where to look, the mend."""
  return (f'{what} ({where}); give the same command on all workers to go on from '
          'the newest checkpoint.')


def leave_without_waiting() -> None:
  """Ends the process, when it ends, with the exit code of a lost worker.

  What TensorFlow does last is to take leave of the other workers; for one that
  is gone it waits more than a minute.
  """
  atexit.register(_leave)


def _leave() -> None:
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(WORKER_LOST_EXIT_CODE)


def _answers(address: str) -> bool:
  host, _, port = address.rpartition(':')
  try:
    with socket.create_connection(
        (host.strip('[]'), int(port)), timeout=_PROBE_TIMEOUT_SECONDS):
      return True
  except OSError:
    return False


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
