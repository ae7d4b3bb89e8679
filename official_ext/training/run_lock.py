"""One run at a time in a model directory.

Two runs that write the same checkpoints ruin both. On a file system of this
machine (or an NFS that has locks) the operating system holds the lock and drops
it with the process, however that ends. An object store has no locks; there the
lock is a file that its holder rewrites every half minute, and whoever finds one
waits to see whether it still changes. No clock of any machine is read for that.
"""

from collections.abc import Callable, Mapping
import contextlib
import datetime
import fcntl
import json
import os
import socket
import sys
import threading
from typing import Any
import uuid

import tensorflow as tf

from official_ext.data.stored_file import has_no_locks
from official_ext.data.stored_file import is_remote
from official_ext.training import durable_files

LOCK_FILE = 'run.lock'
# How often the holder rewrites a lock file, and after what time without a
# change it counts as dead.
BEAT_SECONDS = 30.0
DEAD_AFTER_SECONDS = 150.0
_POLL_SECONDS = 5.0


class RunLockedError(ValueError):
  """Another process has the model directory."""


class RunLock:
  """Holds a model directory for this process, from `with` to its end.

  Args:
    model_dir: the run directory; it is made if it is missing.
    say: called with a line when the wait for another holder begins.
    wait: sleeps so many seconds.

  Raises:
    RunLockedError: on entering, another run has it.
    OSError: on entering, nothing can be written there.
  """

  def __init__(self, model_dir: str, *,
               say: Callable[[str], None] | None = None,
               wait: Callable[[float], Any] | None = None):
    self._model_dir = model_dir
    self._path = os.path.join(model_dir, LOCK_FILE)
    self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
    self._wait = wait or threading.Event().wait
    self._descriptor = None
    self._own = {}
    self._usurper = None
    self._released = threading.Event()
    self._beating = None

  def __enter__(self) -> 'RunLock':
    self._own = _this_process()
    with durable_files.naming_what_failed(
        self._model_dir, 'give a directory that can be written to.'):
      tf.io.gfile.makedirs(self._model_dir)
      if is_remote(self._model_dir) or not self._lock_by_system():
        self._lock_by_file()
    return self

  def __exit__(self, *exception) -> None:
    if self._descriptor is not None:
      if not self._is_replaced(or_gone=True):
        os.unlink(self._path)
      os.close(self._descriptor)
      self._descriptor = None
      return
    self._released.set()
    self._beating.join()
    # A store that is away must not hide how the run ended; the lock dies alone.
    with contextlib.suppress(tf.errors.OpError):
      if self._read().get('token') == self._own['token']:
        tf.io.gfile.remove(self._path)

  def check(self) -> None:
    """Checks that the directory is still this run's.

    Raises:
      RunLockedError: the lock was deleted and another run has taken it.
    """
    if self._descriptor is None:
      # The last beat is too old an answer after the machine was suspended. If
      # the store is away, the save fails by itself.
      with contextlib.suppress(tf.errors.OpError):
        there = self._read()
        if there and there.get('token') != self._own['token']:
          self._usurper = there
    elif self._is_replaced():
      self._usurper = self._read()
    if self._usurper is not None:
      raise RunLockedError(
          f'{self._model_dir} was taken over by {_describe(self._usurper)}, and '
          'this run stops without writing any more; let the other one go on.')

  def _lock_by_system(self) -> bool:
    """Whether the lock could be had by `flock`; false where there is none."""
    while True:
      descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
      try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        os.close(descriptor)
        raise self._refusal(self._read()) from None
      except OSError as error:
        os.close(descriptor)
        if has_no_locks(error):
          return False
        raise
      self._descriptor = descriptor
      # A holder that has just ended may have removed the file locked here.
      if not self._is_replaced(or_gone=True):
        break
      os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, _to_bytes(self._own))
    return True

  def _is_replaced(self, or_gone: bool = False) -> bool:
    try:
      there = os.stat(self._path)
    except FileNotFoundError:
      return or_gone
    return not os.path.samestat(there, os.fstat(self._descriptor))

  def _lock_by_file(self) -> None:
    holder = self._read()
    if holder and not _is_dead(holder):
      self._watch(holder)
    self._write(self._own)
    # Two that came at the same moment: the last to write has it.
    self._wait(1.0)
    winner = self._read()
    if winner.get('token') != self._own['token']:
      raise self._refusal(winner)
    self._beating = threading.Thread(target=self._beat, daemon=True)
    self._beating.start()

  def _watch(self, holder: Mapping[str, Any]) -> None:
    """Returns when the holder must be dead; raises once it gives a sign."""
    self._say(
        f'{self._model_dir} is held by {_describe(holder)}; waiting up to '
        f'{DEAD_AFTER_SECONDS:.0f} s for a sign of it. If it is gone for good, '
        f'deleting {self._path} ends the wait.')
    waited = 0.0
    while waited < DEAD_AFTER_SECONDS:
      self._wait(_POLL_SECONDS)
      waited += _POLL_SECONDS
      now = self._read()
      if not now:
        return
      if now != holder:
        raise self._refusal(now)
    self._say(f'no sign of it in {waited:.0f} s; taking {self._model_dir} over.')

  def _beat(self) -> None:
    while not self._released.wait(BEAT_SECONDS):
      try:
        there = self._read()
        if there and there.get('token') != self._own['token']:
          self._usurper = there
          return
        self._own['beat'] += 1
        self._write(self._own)
      except tf.errors.OpError:
        # A store that is away for a moment; the next beat tries again.
        pass

  def _refusal(self, holder: Mapping[str, Any]) -> RunLockedError:
    return RunLockedError(
        f'{self._model_dir} is in use by {_describe(holder)}; wait for that run '
        'or stop it, or take another model_dir.')

  def _read(self) -> dict[str, Any]:
    """What the lock file says; empty if it is not there or being written."""
    try:
      with tf.io.gfile.GFile(self._path, 'rb') as file:
        content = json.loads(file.read())
    except (tf.errors.NotFoundError, ValueError):
      return {}
    return content if isinstance(content, dict) else {}

  def _write(self, content: Mapping[str, Any]) -> None:
    with tf.io.gfile.GFile(self._path, 'wb') as file:
      file.write(_to_bytes(content))


def _to_bytes(content: Mapping[str, Any]) -> bytes:
  return (json.dumps(content) + '\n').encode()


def _this_process() -> dict[str, Any]:
  now = datetime.datetime.now(datetime.timezone.utc)
  return {'pid': os.getpid(), 'host': socket.gethostname(), 'boot': _boot_id(),
          'pid_namespace': _pid_namespace(),
          'started': now.isoformat(' ', 'seconds'),
          'token': uuid.uuid4().hex, 'beat': 0}


def _boot_id() -> str:
  """Tells machines, and boots of one machine, of the same name apart."""
  try:
    with open('/proc/sys/kernel/random/boot_id') as file:
      return file.read().strip()
  except OSError:
    return ''


def _pid_namespace() -> str:
  """Tells containers of one machine apart, whose processes share numbers."""
  try:
    return os.readlink('/proc/self/ns/pid')
  except OSError:
    return ''


def _is_dead(holder: Mapping[str, Any]) -> bool:
  """Whether a holder is known to have ended; it can be only on this machine."""
  here = _this_process()
  if not here['boot'] or any(
      holder.get(name) != here[name]
      for name in ('host', 'boot', 'pid_namespace')):
    return False
  try:
    os.kill(int(holder['pid']), 0)
  except ProcessLookupError:
    return True
  except (OSError, KeyError, ValueError):
    pass
  return False


def _describe(holder: Mapping[str, Any]) -> str:
  if not holder:
    return 'another process'
  return (f'process {holder.get("pid")} on {holder.get("host")}, which started '
          f'at {holder.get("started")}')
