"""Worker processes leave nothing behind, and end with the one that made them."""

import os
import subprocess
import sys
import time

_PIECES = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a']


def test_next_user_of_the_fork_server_finds_no_part_of_tensorflow(tmp_path):
  # As it was once found: a process forked after `prepare` could not
  # `import tensorflow.compat`, for TensorFlow was there in part. In a process of
  # its own: other tests have a fork server with TensorFlow in it.
  program = (
      'import multiprocessing, sys\n'
      'from official_ext.data.settings import PrepareSettings\n'
      'from official_ext.data.workers import Workers\n'
      'def has_tensorflow():\n'
      '  return "tensorflow" in sys.modules\n'
      'def print_it():\n'
      '  print(has_tensorflow(), flush=True)\n'
      'if __name__ == "__main__":\n'
      '  workers = Workers(2)\n'
      f'  workers.start(PrepareSettings(), {_PIECES!r}, {str(tmp_path)!r})\n'
      '  print(workers.submit_function(has_tensorflow).result(), flush=True)\n'
      '  workers.close()\n'
      '  process = multiprocessing.get_context("forkserver").Process(\n'
      '      target=print_it)\n'
      '  process.start()\n'
      '  process.join()\n')
  script = tmp_path / 'script.py'
  script.write_text(program)
  done = subprocess.run([sys.executable, str(script)], capture_output=True,
                        text=True, check=False)
  assert (done.returncode, done.stdout.split()) == (0, ['True', 'False']), (
      done.stderr)


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
