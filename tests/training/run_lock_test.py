"""Two runs never write one directory, and a dead one never blocks it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from official_ext.training import run_lock
from official_ext.training.run_lock import RunLock
from official_ext.training.run_lock import RunLockedError

# Another process that holds the lock, without five seconds of imports.
HOLDER = '''
import fcntl, os, sys, time
file = open(sys.argv[1], 'w')
fcntl.flock(file, fcntl.LOCK_EX)
file.write(sys.argv[2].replace('PID', str(os.getpid())))
file.flush()
print('locked', flush=True)
time.sleep(60)
'''
LINE = '{"pid": PID, "host": "here", "started": "2026-01-02 03:04:05+00:00"}'


@pytest.fixture
def holder(tmp_path):
  process = subprocess.Popen(
      [sys.executable, '-c', HOLDER, str(tmp_path / 'run.lock'), LINE],
      stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == 'locked\n'
  yield process
  process.kill()
  process.wait()
  process.stdout.close()


def test_second_run_is_refused_by_name(holder, tmp_path):
  with pytest.raises(RunLockedError) as error:
    with RunLock(str(tmp_path)):
      pass
  assert str(error.value) == (
      f'{tmp_path} is in use by process {holder.pid} on here, which started at '
      '2026-01-02 03:04:05+00:00; wait for that run or stop it, or take another '
      'model_dir.')
  assert str(holder.pid) in (tmp_path / 'run.lock').read_text()


def test_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
  os.kill(holder.pid, signal.SIGKILL)
  holder.wait()
  with RunLock(str(tmp_path)):
    there = json.loads((tmp_path / 'run.lock').read_text())
    assert (there['pid'], there['host']) == (os.getpid(), socket.gethostname())
  assert not list(tmp_path.iterdir())


def test_lock_is_free_again_after_a_run_that_failed(tmp_path):
  with pytest.raises(KeyError):
    with RunLock(str(tmp_path / 'run')):
      raise KeyError
  with RunLock(str(tmp_path / 'run')) as lock:
    lock.check()


def test_run_whose_lock_was_deleted_and_taken_stops(tmp_path):
  with RunLock(str(tmp_path)) as first:
    (tmp_path / 'run.lock').unlink()
    first.check()  # Nobody else is there.
    with RunLock(str(tmp_path)) as second:
      with pytest.raises(RunLockedError, match='was taken over by process'):
        first.check()
      second.check()


def test_place_that_cannot_be_written_to_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(OSError) as error:
    with RunLock(str(tmp_path / 'file/run')):
      pass
  assert str(error.value) == (
      f'{tmp_path}/file/run could not be written ({tmp_path}/file is not a '
      'directory); give a directory that can be written to.')


class Store:
  """A directory where only `tf.io.gfile` gets, and time that is passed by hand.

  Attributes:
    waited: seconds that were waited for, in all.
    happens: called at each wait, with the seconds so far.
  """

  def __init__(self, path):
    self.path = path
    self.file = os.path.join(path, 'run.lock')
    self.waited = 0.0
    self.happens = lambda waited: None
    self.said = []

  def lock(self):
    return RunLock(self.path, say=self.said.append, wait=self._wait)

  def write(self, **fields):
    tf.io.gfile.makedirs(self.path)
    with tf.io.gfile.GFile(self.file, 'w') as file:
      file.write(json.dumps(
          {'pid': 7, 'host': 'elsewhere', 'started': 'then', 'boot': 'other',
           'token': 'theirs', 'beat': 0} | fields))

  def write_of_gone_process(self, pid_namespace):
    """As a process of this machine, which has ended, left it."""
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    with open('/proc/sys/kernel/random/boot_id') as file:
      boot = file.read().strip()
    self.write(pid=gone.pid, host=socket.gethostname(), boot=boot,
               pid_namespace=pid_namespace)

  def _wait(self, seconds):
    self.waited += seconds
    self.happens(self.waited)


@pytest.fixture
def store(tmp_path):
  return Store(f'file://{tmp_path}/store')


def test_store_without_locks_has_a_file(store):
  with store.lock() as lock:
    lock.check()
    with tf.io.gfile.GFile(store.file) as file:
      assert json.loads(file.read())['pid'] == os.getpid()
  assert not tf.io.gfile.exists(store.file)
  assert not store.said


def test_store_that_cannot_be_read_does_not_hide_how_a_run_ended(store):
  with pytest.raises(KeyError, match='its own error'):
    with store.lock():
      tf.io.gfile.remove(store.file)
      # What cannot be read as a file.
      tf.io.gfile.makedirs(store.file)
      raise KeyError('its own error')


def test_holder_elsewhere_that_gives_a_sign_is_respected(store):
  store.write()
  store.happens = lambda waited: waited == 30 and store.write(beat=1)
  with pytest.raises(RunLockedError) as error:
    with store.lock():
      pass
  assert 'is in use by process 7 on elsewhere, which started at then' in str(
      error.value)
  assert store.waited == 30
  assert store.said == [
      f'{store.path} is held by process 7 on elsewhere, which started at then; '
      'waiting up to 150 s for a sign of it. If it is gone for good, deleting '
      f'{store.file} ends the wait.']


def test_holder_elsewhere_that_gives_no_sign_is_dead(store):
  store.write()
  with store.lock() as lock:
    lock.check()
  assert store.waited == 151
  assert store.said[-1] == (
      f'no sign of it in 150 s; taking {store.path} over.')


def test_deleting_the_file_ends_the_wait(store):
  store.write()
  store.happens = lambda waited: waited == 10 and tf.io.gfile.remove(store.file)
  with store.lock():
    assert store.waited == 11


def test_dead_process_of_this_machine_is_not_waited_for(store):
  store.write_of_gone_process(os.readlink('/proc/self/ns/pid'))
  with store.lock():
    assert store.waited == 1


def test_process_of_another_container_here_may_be_alive(store):
  # Its number means nothing here, though machine and host name are the same.
  store.write_of_gone_process('pid:[1]')
  store.happens = lambda waited: waited == 30 and store.write(beat=1)
  with pytest.raises(RunLockedError):
    with store.lock():
      pass


def test_of_two_at_the_same_moment_one_has_it(store):
  store.happens = lambda waited: store.write()
  with pytest.raises(RunLockedError, match='process 7 on elsewhere'):
    with store.lock():
      pass


def test_holder_beats_and_notices_that_it_was_replaced(store, monkeypatch):
  monkeypatch.setattr(run_lock, 'BEAT_SECONDS', 0.01)
  with store.lock() as lock:
    wait_until(lambda: read(store).get('beat', 0) > 2)
    # Another beat may be under way, and comes after this.
    def is_replaced():
      store.write()
      try:
        lock.check()
      except RunLockedError as error:
        return 'this run stops without writing any more' in str(error)
      return False
    wait_until(is_replaced)
  assert read(store)['token'] == 'theirs'


def read(store):
  with tf.io.gfile.GFile(store.file, 'rb') as file:
    content = file.read()
  return json.loads(content) if content else {}


def wait_until(condition):
  deadline = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)
