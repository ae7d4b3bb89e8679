"""Processes that start with TensorFlow imported, in a tenth of a second."""

import gc
import multiprocessing
import os

_PRELOADED = ['official_ext.training.pretrain', 'official_ext.analysis.report']


class ForkedProcesses:
  """Starts functions in processes of their own, which may be killed.

  They are forked from a server that has imported TensorFlow and done nothing
  with it, so that each is as one that was started afresh.
  """

  def __init__(self):
    self._context = multiprocessing.get_context('forkserver')
    self._context.set_forkserver_preload(_PRELOADED)

  def start(self, log_file, function, *args) -> multiprocessing.Process:
    """Calls `function(*args)`; what it prints is appended to a file."""
    process = self._context.Process(
        target=_run, args=(str(log_file), function, *args))
    process.start()
    return process


def _run(log_file, function, *args) -> None:
  # What was imported stays for good; collections that go through it would copy
  # the memory that is shared with the server.
  gc.freeze()
  descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  for standard in (1, 2):
    os.dup2(descriptor, standard)
  function(*args)
