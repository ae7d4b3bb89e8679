"""Worker processes leave nothing behind, and end with the one that made them."""

import multiprocessing
import os
import subprocess
import sys
import time

from official_ext.data.settings import PrepareSettings
from official_ext.data.workers import Workers

_PIECES = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a']


def test_next_user_of_the_fork_server_finds_no_part_of_tensorflow(tmp_path):
  # As it was once found: a process forked after `prepare` could not
  # `import tensorflow.compat`, for TensorFlow was there in part.
  workers = Workers(2)
  workers.start(PrepareSettings(), _PIECES, str(tmp_path))
  assert workers.submit_function(_has_tensorflow).result()
  workers.close()
  context = multiprocessing.get_context('forkserver')
  answers = context.SimpleQueue()
  process = context.Process(target=_put_has_tensorflow, args=(answers,))
  process.start()
  assert answers.get() is False
  process.join()


def _has_tensorflow() -> bool:
  return 'tensorflow' in sys.modules


def _put_has_tensorflow(answers) -> None:
  answers.put(_has_tensorflow())


def test_workers_end_with_the_process_that_was_killed(tmp_path):
  # They would write on into the directory that the next one begins with.
  program = (
      'import os\n'
      'from official_ext.data.settings import PrepareSettings\n'
      'from official_ext.data.workers import Workers\n'
      'workers = Workers(2)\n'
      f'workers.start(PrepareSettings(), {_PIECES!r}, {str(tmp_path)!r})\n'
      'futures = [workers.submit_function(os.getpid) for _ in range(20)]\n'
      'print(*{future.result() for future in futures}, flush=True)\n'
      'os.kill(os.getpid(), 9)\n')
  killed = subprocess.run([sys.executable, '-c', program], capture_output=True,
                          text=True, check=False)
  assert killed.returncode == -9
  pids = killed.stdout.split()
  assert pids
  deadline = time.monotonic() + 20
  while any(os.path.exists(f'/proc/{pid}') for pid in pids):
    assert time.monotonic() < deadline, 'the workers live on'
    time.sleep(0.05)
