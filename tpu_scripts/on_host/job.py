"""Keeps a command running on this host, whatever becomes of the ssh session.

  python3 job.py describe TPU ARGUMENTS...   what `start train` reads, on stdout
  python3 job.py start NAME       start what NAME.json describes, in this folder
  python3 job.py status NAME      one line of JSON: state, exit code, last lines
  python3 job.py stop NAME        let it save and end
"""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

FOLDER = pathlib.Path(__file__).resolve().parent
START_SECONDS = 20
# A checkpoint of a large model into a bucket takes a while.
STOP_SECONDS = 300
SHOWN_LINES = 15


def describe(tpu: str, arguments: list[str]) -> dict:
  """A training run as `start` reads it.

  Args:
    tpu: name of the TPU; 'local' on a slice of a single host.
    arguments: of `official_ext.train`, without `--tpu`.
  """
  return {
      'argv': ['-m', 'official_ext.train', '--tpu', tpu, *arguments],
      # Else the program takes this host's TPU away from the host's server.
      'environment': {} if tpu == 'local' else {'TPU_LOAD_LIBRARY': '0'},
      'arguments': arguments,
  }


class Job:
  """One command of this host; its files are in `jobs/NAME`."""

  def __init__(self, name: str, folder: pathlib.Path = FOLDER):
    self._name = name
    self._next = folder / f'{name}.json'
    self._folder = folder / 'jobs' / name
    self._description = self._folder / 'job.json'
    self._exit = self._folder / 'exit.json'
    self._log = self._folder / 'log.txt'
    self._process = self._folder / 'process.json'

  def start(self) -> str:
    """Starts what NAME.json describes; returns what to tell the user.

    Raises:
      ValueError: another command is running under this name.
      OSError: there is no description, or the command does not start.
    """
    wanted = json.loads(self._next.read_text(encoding='utf-8'))
    self._folder.mkdir(parents=True, exist_ok=True)
    if self._is_running():
      if self._read(self._description) == wanted:
        return f'{self._name} is running already'
      raise ValueError(
          f'another {self._name} is running on this host; stop it first: '
          f'python3 {FOLDER.name}/job.py stop {self._name}')
    # `stop` must not signal whatever has the number of the last process now.
    for of_last in (self._exit, self._process):
      of_last.unlink(missing_ok=True)
    self._description.write_text(json.dumps(wanted), encoding='utf-8')
    with open(self._log, 'ab') as log:
      subprocess.Popen(  # pylint: disable=consider-using-with
          [sys.executable, __file__, 'run', self._name], cwd=FOLDER,
          stdin=subprocess.DEVNULL, stdout=log, stderr=log,
          start_new_session=True)
    self._wait(lambda: self._is_running() or self._exit.exists(), START_SECONDS)
    if not (self._is_running() or self._exit.exists()):
      raise OSError(f'{self._name} did not start; see {self._log}')
    return f'{self._name} started'

  def run(self) -> None:
    """Runs the command to its end, and writes down its exit code."""
    description = self._read(self._description)
    with open(self._folder / 'lock', 'w', encoding='utf-8') as lock:
      # `status` holds it for a moment.
      self._wait(lambda: _has_locked(lock), START_SECONDS)
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      python = FOLDER / 'venv/bin/python'
      # The command holds the lock too, should it outlive this process.
      with subprocess.Popen(
          [python, *description['argv']], cwd=FOLDER, pass_fds=[lock.fileno()],
          # Files of this folder must not hide installed modules.
          env=os.environ | {'PYTHONSAFEPATH': '1'} | description['environment']
      ) as command:
        self._write(self._process, {'pid': command.pid})
        code = command.wait()
      # As a shell says it.
      self._write(self._exit, {'exit_code': code if code >= 0 else 128 - code})

  def status(self) -> dict:
    """`state` is 'none', 'running', 'exited' or 'lost' (the host restarted)."""
    if not self._description.exists():
      return {'state': 'none'}
    arguments = self._read(self._description)['arguments']
    if self._is_running():
      return {'state': 'running', 'arguments': arguments}
    if not self._exit.exists():
      return {'state': 'lost', 'arguments': arguments}
    return {'state': 'exited', 'arguments': arguments,
            'last_lines': self._last_lines(), **self._read(self._exit)}

  def stop(self) -> str:
    """Sends SIGTERM and waits; returns what to tell the user."""
    if not self._is_running():
      return f'{self._name} is not running'
    self._wait(self._process.exists, START_SECONDS)
    os.kill(self._read(self._process)['pid'], signal.SIGTERM)
    if self._wait(lambda: not self._is_running(), STOP_SECONDS):
      return f'{self._name} has ended'
    raise OSError(f'{self._name} has not ended within {STOP_SECONDS} s')

  def _is_running(self) -> bool:
    try:
      with open(self._folder / 'lock', 'a', encoding='utf-8') as lock:
        return not _has_locked(lock)
    except FileNotFoundError:
      return False

  def _last_lines(self) -> list[str]:
    with open(self._log, 'rb') as log:
      log.seek(max(0, log.seek(0, os.SEEK_END) - 20_000))
      text = log.read().decode('utf-8', 'replace')
    # A progress bar writes over its line.
    lines = (line.rpartition('\r')[2].rstrip() for line in text.split('\n'))
    return [line for line in lines if line][-SHOWN_LINES:]

  def _read(self, path: pathlib.Path) -> dict:
    return json.loads(path.read_text(encoding='utf-8'))

  def _write(self, path: pathlib.Path, content: dict) -> None:
    """All or nothing: others read these files meanwhile."""
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(content), encoding='utf-8')
    partial.replace(path)

  def _wait(self, is_so, seconds: float) -> bool:
    """Waits until it is so; returns whether it came to that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      if is_so():
        return True
      time.sleep(0.05)
    return is_so()


def _has_locked(file) -> bool:
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
  except BlockingIOError:
    return False


def main(arguments: list[str]) -> None:
  """Does what the first argument says."""
  action, *rest = arguments or ['--help']
  if action == 'describe' and rest:
    print(json.dumps(describe(rest[0], rest[1:])))
    return
  if action not in ('start', 'run', 'status', 'stop') or len(rest) != 1:
    print(__doc__)
    sys.exit(0 if action in ('--help', '-h') else 2)
  try:
    job = Job(rest[0])
    if action == 'run':
      job.run()
    elif action == 'status':
      print(json.dumps(job.status()))
    else:
      print(getattr(job, action)())
  except (OSError, ValueError) as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(1)


if __name__ == '__main__':
  main(sys.argv[1:])
