"""Who is waited for, who is gone, and when the process ends."""

import contextlib
import queue
import socket
import subprocess
import sys
import time

import pytest

from official_ext.training.cluster import Cluster
from official_ext.training.worker_watch import WORKER_LOST_EXIT_CODE
from official_ext.training.worker_watch import WorkerWatch

# A process that listens as TensorFlow's server does, until it is killed.
LISTENER = """
import socket, sys, time
server = socket.create_server(('localhost', int(sys.argv[1])), backlog=128)
while True:
  server.accept()[0].close()
"""


def free_port() -> int:
  with socket.create_server(('localhost', 0)) as server:
    return server.getsockname()[1]


@contextlib.contextmanager
def listener(port):
  process = subprocess.Popen([sys.executable, '-c', LISTENER, str(port)])
  try:
    yield process
  finally:
    process.kill()
    process.wait()


@pytest.fixture
def watched():
  """A watch of worker 0 over worker 1, what it says and what it ends with."""
  port, said, ended = free_port(), queue.Queue(), queue.Queue()
  watch = WorkerWatch(
      Cluster(('localhost:1', f'localhost:{port}'), 0),
      probe_interval_seconds=0.02, grace_seconds=0.3, reminder_seconds=0.1,
      say=said.put, end_process=ended.put)
  watch.start()
  yield watch, port, said, ended
  watch.stop()


def wait_until_seen(watch):
  while not watch.seen:
    time.sleep(0.01)


def test_a_worker_that_never_came_is_waited_for(watched):
  watch, port, said, ended = watched
  assert said.get(timeout=10) == (
      f'waiting for worker 1 (localhost:{port}); start the same command there')
  assert watch.wait_for_loss(0) is None
  assert ended.empty()


def test_a_killed_worker_ends_this_one(watched):
  watch, port, said, ended = watched
  with listener(port) as process:
    wait_until_seen(watch)
    process.kill()
    killed = time.monotonic()
    assert ended.get(timeout=10) == WORKER_LOST_EXIT_CODE == 76
  # Not before the program had its time to end by itself.
  assert time.monotonic() - killed >= 0.3
  # It may have been waited for while the listener started.
  lines = [line for line in said.queue if not line.startswith('waiting')]
  assert lines == [
      f'error: worker 1 (localhost:{port}) is gone (its own output says why); '
      'give the same command on all workers to go on from the newest checkpoint.']


def test_what_the_program_tells_is_not_told_again(watched):
  watch, port, said, ended = watched
  with listener(port) as process:
    wait_until_seen(watch)
    process.kill()
    line = watch.wait_for_loss(10)
    assert line.startswith(f'worker 1 (localhost:{port}) is gone')
    assert ended.get(timeout=10) == WORKER_LOST_EXIT_CODE
  assert not [line for line in said.queue if line.startswith('error')]


def test_a_program_that_is_through_is_not_ended(watched):
  watch, port, _, ended = watched
  with listener(port):
    wait_until_seen(watch)
    watch.stop()
  assert watch.wait_for_loss(0.2) is None
  assert ended.empty()


def test_a_worker_that_misses_twice_is_not_gone():
  answers = [True] + [False, False, True] * 5
  asked, ended = [], queue.Queue()

  def answer(address):
    asked.append(address)
    return answers[len(asked) - 1] if len(asked) <= len(answers) else True

  watch = WorkerWatch(
      Cluster(('localhost:1', 'localhost:2'), 0), probe_interval_seconds=0.001,
      grace_seconds=0.0, end_process=ended.put, answers=answer)
  watch.start()
  while len(asked) <= len(answers):
    time.sleep(0.01)
  watch.stop()
  assert set(asked) == {'localhost:2'}
  assert ended.empty()
