"""Runs commands without importing TensorFlow for each of them again.

Where a test is about imports, the environment, or what TensorFlow says when it
starts, the command is a real `python -m` instead.
"""

import os
import pathlib
import runpy
import subprocess
import sys

from tests.training.forked_process import ForkedProcesses


def run_command(
    folder: pathlib.Path, module: str, *arguments: str
) -> subprocess.CompletedProcess:
  """What `python -m module *arguments` does, in a process of its own.

  Args:
    folder: where its output is kept; of the test's own.
    module: full name of the command.
    *arguments: of the command line.
  """
  files = folder / 'command_stdout.txt', folder / 'command_stderr.txt'
  process = ForkedProcesses().start(
      os.devnull, _run, module, arguments, *map(str, files))
  process.join()
  stdout, stderr = (file.read_text() for file in files)
  return subprocess.CompletedProcess(
      [module, *arguments], process.exitcode, stdout, stderr)


def _run(module, arguments, stdout_file, stderr_file) -> None:
  for standard, file in ((1, stdout_file), (2, stderr_file)):
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, standard)
  sys.argv = [module, *arguments]
  runpy.run_module(module, run_name='__main__', alter_sys=True)
