"""Starts real worker processes of one run on loopback."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_addresses(count):
  with contextlib.ExitStack() as stack:
    servers = [stack.enter_context(socket.create_server(('localhost', 0)))
               for _ in range(count)]
    return [f'localhost:{server.getsockname()[1]}' for server in servers]


@contextlib.contextmanager
def started(arguments, num_workers=2, addresses=None):
  """Runs `python *arguments` on every worker; yields the processes.

  Args:
    arguments: of all workers, or a list for each of them.
    num_workers: 0 runs one process without a cluster.
    addresses: of all workers; free ports if they are not given.
  """
  cluster = {'worker': addresses or free_addresses(num_workers)}
  # Warnings of the test suite's own settings are no concern of a command.
  environment = {
      name: value for name, value in os.environ.items() if name != 'TF_CONFIG'}
  processes = []
  try:
    for index in range(max(1, num_workers)):
      own = arguments if isinstance(arguments[0], str) else arguments[index]
      task = {'type': 'worker', 'index': index}
      config = ({'TF_CONFIG': json.dumps({'cluster': cluster, 'task': task})}
                if num_workers else {})
      processes.append(subprocess.Popen(
          [sys.executable, *map(str, own)], cwd=ROOT, env=environment | config,
          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.communicate()


def run(arguments, num_workers=2, timeout=900):
  """Runs the workers to their end: (exit code, output) of each."""
  with started(arguments, num_workers) as processes:
    outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    return [(process.returncode, output)
            for process, output in zip(processes, outputs)]
