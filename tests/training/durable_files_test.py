"""Whether somebody has to mend what a write failed of, or it will pass."""

import errno
import os

import pytest
import tensorflow as tf

from official_ext import command
from official_ext.data.stored_file import StoreAwayError
from official_ext.training import durable_files


def failing(error):
  with durable_files.naming_what_failed('gs://bucket/ckpt-8', 'outcome.'):
    raise error


@pytest.mark.parametrize('error, exit_code', [
    (tf.errors.UnavailableError(None, None, 'no route'), 1),
    (tf.errors.DeadlineExceededError(None, None, 'no route'), 1),
    (tf.errors.PermissionDeniedError(None, None, 'no route'), 2),
    (OSError(errno.ENOSPC, 'no route'), 2),
    (OSError(errno.ESTALE, 'no route'), 1),
    # What reading back what was written says.
    (StoreAwayError('no route'), 1),
])
def test_store_that_is_away_is_a_failure_and_not_a_mistake(
    error, exit_code, capsys):
  # A supervisor tries again after a failure, and gives up at a mistake.
  with pytest.raises(SystemExit) as ended:
    command.run_command(lambda: failing(error), argv=['train'])
  assert ended.value.code == exit_code
  assert capsys.readouterr().err == (
      'error: gs://bucket/ckpt-8 could not be written (no route); outcome.\n')


def test_line_is_added_on_the_disk_and_in_a_store(tmp_path):
  for path in (str(tmp_path / 'lines'), f'file://{tmp_path}/stored'):
    durable_files.append_line(path, 'one')
    durable_files.append_line(path, 'zwei \u00fc')
    with open(os.path.join(tmp_path, os.path.basename(path)), 'rb') as file:
      assert file.read() == 'one\nzwei \u00fc\n'.encode()
