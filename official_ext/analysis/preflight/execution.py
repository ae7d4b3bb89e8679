"""Runs `execute` in a process of its own, with the Python that runs."""

from collections.abc import Callable
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

from official_ext.analysis.preflight import execute

_SCRIPT = execute.__file__


class ExecutionError(RuntimeError):
  """A program did not run to its end."""


def find_device(say: Callable[[str], None],
                platform: str | None = None) -> str | None:
  """What JAX calls its accelerator; None, and a line that says so, without one.

  Args:
    say: told why there is none.
    platform: of JAX; None means a GPU or a TPU.
  """
  done = _call(*_platform(platform))
  if done.returncode == 0:
    return done.stdout.strip()
  say(_last_line(done))
  return None


def execute_folder(folder: str | os.PathLike[str],
                   platform: str | None = None) -> dict[str, Any]:
  """What `execute.execute_folder` returns, of a folder.

  Args:
    folder: as `stablehlo_folder.write_programs` writes it.
    platform: of JAX; None means a GPU or a TPU.

  Raises:
    ExecutionError: with the last thing that the process said.
  """
  done = _call(str(pathlib.Path(folder)), '--json', *_platform(platform))
  if done.returncode:
    raise ExecutionError(f'the programs were not executed: {_last_line(done)}')
  return json.loads(done.stdout)


def _platform(platform: str | None) -> list[str]:
  return [f'--platform={platform}'] if platform else []


def _call(*arguments: str) -> subprocess.CompletedProcess:
  # -P: the folder of the script, this package's, is not to be searched.
  return subprocess.run(
      [sys.executable, '-P', _SCRIPT, *arguments], capture_output=True,
      text=True, check=False)


def _last_line(done: subprocess.CompletedProcess) -> str:
  return (done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]
