"""Worker processes leave nothing behind for the next user of the fork server."""

import multiprocessing
import sys

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
