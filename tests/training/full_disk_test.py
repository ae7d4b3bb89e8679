"""The command on a disk that really fills up, and that is made larger."""

import os
import subprocess
import sys

import pytest

from official_ext.training.checkpoints import RunCheckpoints
from tests.soak import kills
from tests.training import run_comparison
from tests.training import tiny_run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
# A file system of our own, which needs no rights but those of a user namespace.
IN_NAMESPACE = ['unshare', '--user', '--map-root-user', '--mount']
SMALL_DISK = '''
set -e
mount -t tmpfs -o size=$1 none "$2"
shift 2
copy=$1
shift
mkdir -p "$copy"
cp -a "$copy/." "$TARGET"
code=0
"$@" || code=$?
cp -a "$TARGET/." "$copy"
exit $code
'''


def can_mount() -> bool:
  try:
    return not subprocess.run(
        [*IN_NAMESPACE, 'mount', '-t', 'tmpfs', 'none', '/mnt'],
        capture_output=True, check=False).returncode
  except FileNotFoundError:
    return False


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason='no file system may be mounted here')
def test_run_ends_in_one_line_and_goes_on_when_there_is_room(tmp_path):
  tiny_run.write_data(tmp_path / 'data')
  (tmp_path / 'soak.gin').write_text(kills.GIN)
  (tmp_path / 'disk').mkdir()

  def train(model_dir, *before):
    return subprocess.run(
        [*before, sys.executable, '-m', 'official_ext.train',
         f'--gin_file={tmp_path}/soak.gin', f'--data_dir={tmp_path}/data',
         f'--model_dir={model_dir}'], cwd=ROOT, capture_output=True, text=True,
        check=False, env=os.environ | {'TARGET': str(tmp_path / 'disk')})

  def on_disk(size):
    return train(
        tmp_path / 'disk', *IN_NAMESPACE, 'bash', '-c', SMALL_DISK, 'bash', size,
        str(tmp_path / 'disk'), str(tmp_path / 'copy'))

  full = on_disk('220k')
  assert full.returncode == 2, full.stderr
  last = full.stderr.splitlines()[-1]
  assert last.startswith('error: '), full.stderr
  assert 'could not be written (No space left on device); ' in last
  assert last.endswith('and give the same command again.')
  checkpoints = RunCheckpoints(str(tmp_path / 'copy/checkpoints'))
  assert checkpoints.newest_valid(pytest.fail)

  roomy = on_disk('20m')
  assert roomy.returncode == 0, roomy.stderr
  assert 'resuming at step' in roomy.stderr
  assert train(tmp_path / 'undisturbed').returncode == 0
  run_comparison.assert_same(tmp_path / 'copy', tmp_path / 'undisturbed')
