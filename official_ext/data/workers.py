"""Worker processes that import TensorFlow once between them.

A fork server imports what they need of it, before any of its threads exist, and
workers are forked from it: they start at once, and share the memory of its
libraries.
"""

import concurrent.futures
from concurrent.futures import process as process_futures
import functools
import multiprocessing
from multiprocessing import connection
from multiprocessing import forkserver
import os
import threading
from typing import Any, Callable, Sequence

from official_ext.data import partial_tensorflow
from official_ext.data.chunks import ChunkMaker
from official_ext.data.settings import PrepareSettings
from official_ext.data.shards import spill_rows

# pylint: disable=protected-access
_SERVER = forkserver._forkserver  # Nothing public stops it.

_maker: ChunkMaker | None = None


def num_cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else (
      os.cpu_count() or 1)


class InProcess(concurrent.futures.Executor):
  """Runs tasks when they are submitted, in this process."""

  def submit(self, fn: Callable[..., Any], /, *args, **kwargs):
    future = concurrent.futures.Future()
    future.set_result(fn(*args, **kwargs))
    return future


class Workers:
  """`num_workers` processes, or this process if it is to be one.

  Building it starts the import of TensorFlow in the background; `start` makes
  the workers.
  """

  def __init__(self, num_workers: int):
    self.num_workers = num_workers
    self._executor = None
    self._context = None
    self._owns_server = False
    if num_workers > 1:
      has_server = 'forkserver' in multiprocessing.get_all_start_methods()
      self._context = multiprocessing.get_context(
          'forkserver' if has_server else 'spawn')
      if has_server:
        self._owns_server = _SERVER._forkserver_pid is None
        self._context.set_forkserver_preload(['official_ext.data.worker_start'])
        forkserver.ensure_running()

  def start(self, settings: PrepareSettings, vocabulary: Sequence[str],
            spill_dir: str) -> None:
    """Makes the workers, each with a `ChunkMaker` that spills its rows."""
    maker_arguments = (settings, vocabulary, spill_dir)
    if self._context is None:
      _initialize(*maker_arguments)
      self._executor = InProcess()
    else:
      self._executor = concurrent.futures.ProcessPoolExecutor(
          self.num_workers, self._context, _initialize_process, maker_arguments)

  def submit(self, method: str, *arguments: Any) -> concurrent.futures.Future:
    """Submits a call of a method of the worker's `ChunkMaker`."""
    return self._executor.submit(_call, method, *arguments)

  def submit_function(self, function: Callable[..., Any],
                      *arguments: Any) -> concurrent.futures.Future:
    return self._executor.submit(function, *arguments)

  def close(self) -> None:
    """Ends the workers; what is not begun is not done."""
    global _maker
    _maker = None
    if self._executor is not None:
      self._executor.shutdown(wait=True, cancel_futures=True)
    if self._owns_server:
      # The server has a part of TensorFlow only, and Python has one server for
      # all: who forks from it next would find `tensorflow.compat` missing.
      self._context.set_forkserver_preload(['__main__'])
      _SERVER._stop()
      self._owns_server = False


def result(future: concurrent.futures.Future) -> Any:
  """The result of a task.

  Raises:
    OSError: if its process was killed from outside.
  """
  try:
    return future.result()
  except process_futures.BrokenProcessPool as error:
    raise OSError(
        'a worker process died, most often for want of memory; give fewer '
        '--num_workers') from error


def _initialize(settings: PrepareSettings, vocabulary: Sequence[str],
                spill_dir: str) -> None:
  global _maker
  _maker = ChunkMaker(
      settings, vocabulary, functools.partial(spill_rows, spill_dir))


def _initialize_process(*maker_arguments: Any) -> None:
  threading.Thread(target=_end_with_parent, daemon=True).start()
  partial_tensorflow.load()
  partial_tensorflow.use_one_thread()
  _initialize(*maker_arguments)


def _end_with_parent() -> None:
  """Ends this process when the one that hands out work has been killed.

  It would wait for work for ever: workers hold each other's pipes open.
  """
  connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)


def _call(method: str, *arguments: Any) -> Any:
  return getattr(_maker, method)(*arguments)
