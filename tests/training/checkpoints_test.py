"""Checkpoints: what makes one valid, and what is done with one that is not."""

import errno
import os
import resource
import time

import pytest
import tensorflow as tf

from official_ext.data.stored_file import StoreAwayError
from official_ext.training import checkpoint_seal
from official_ext.training.checkpoints import RunCheckpoints


class Tiny(tf.Module):
  """As much of a model as a checkpoint looks at."""

  def __init__(self, size=100):
    super().__init__()
    self.kernel = tf.Variable(tf.range(size, dtype=tf.float32))
    self.optimizer = tf.Module()
    self.checkpoint_items = {}


@pytest.fixture
def directory(tmp_path):
  return tmp_path / 'checkpoints'


@pytest.fixture
def saved(directory):
  """Checkpoints of steps 2, 4 and 6."""
  checkpoints = RunCheckpoints(str(directory))
  for step in (2, 4, 6):
    checkpoints.save(Tiny(), step=step, stage_index=0)
  return checkpoints


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def cut(path):
  path.write_bytes(path.read_bytes()[:-1])


DATA = 'ckpt-6.data-00000-of-00001'
DAMAGES = {
    'flipped data': (flip, DATA, f'{DATA} does not have the checksum that it '
                     'was written with'),
    'cut data': (cut, DATA, f'{DATA} has {{less}} bytes instead of {{all}}'),
    'lost data': (os.remove, DATA, f'{DATA} is missing'),
    'flipped index': (flip, 'ckpt-6.index', 'ckpt-6.index does not have the '
                      'checksum that it was written with'),
    'cut seal': (lambda path: path.write_text('{"files": {'),
                 'ckpt-6.seal.json', 'ckpt-6.seal.json cannot be read'),
    'lost seal': (os.remove, 'ckpt-6.seal.json',
                  'it has no seal: it was not saved to the end'),
}


@pytest.mark.parametrize('name', DAMAGES)
def test_damaged_one_is_named_set_aside_and_passed_over(name, saved, directory):
  damage, file, reason = DAMAGES[name]
  size = (directory / file).stat().st_size
  reason = reason.format(less=size - 1, all=size)
  damage(directory / file)
  left = {path.name: path.read_bytes() for path in directory.glob('ckpt-6.*')}

  said = []
  assert saved.newest_valid(said.append) == str(directory / 'ckpt-4')
  assert said == [f'checkpoint {directory}/ckpt-6 is damaged ({reason}); '
                  'falling back to the one before it.']
  # Whoever only reads, reads only.
  assert {path.name for path in directory.glob('ckpt-6.*')} == left.keys()

  said.clear()
  assert saved.recover(said.append) == str(directory / 'ckpt-4')
  aside = directory / (
      'unfinished' if 'no seal' in reason else 'damaged/ckpt-6')
  assert said == [
      f'checkpoint {directory}/ckpt-6 is damaged ({reason}); it is now in '
      f'{aside}, falling back to the one before it.']
  assert {path.name: path.read_bytes() for path in aside.iterdir()} == left
  assert not list(directory.glob('ckpt-6.*'))
  assert tf.train.latest_checkpoint(str(directory)) == str(directory / 'ckpt-4')

  # The same steps are done and saved again, and damaged again.
  saved.save(Tiny(), step=6, stage_index=0)
  damage(directory / file)
  assert saved.recover(said.append) == str(directory / 'ckpt-4')
  assert len(list(aside.parent.glob('ckpt-6*'))) == (
      0 if 'no seal' in reason else 2)


def test_where_all_are_damaged_nothing_is_touched(saved, directory):
  for path in directory.glob('*.data*'):
    flip(path)
  before = {path.name: path.read_bytes() for path in directory.iterdir()}
  with pytest.raises(ValueError) as error:
    saved.recover(pytest.fail)
  assert str(error.value).startswith(
      f'none of the 3 checkpoints in {directory} can be read; restore one from a '
      'backup or start in a new model_dir (ckpt-6: ckpt-6.data-')
  assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_store_that_cannot_be_read_is_no_damage(saved, directory):
  del saved
  seal = directory / 'ckpt-6.seal.json'
  seal.unlink()
  # What is there and cannot be read, as in a store that is away for a moment.
  seal.mkdir()
  before = sorted(os.listdir(directory))
  for path in (f'file://{directory}', str(directory)):
    with pytest.raises(StoreAwayError, match='cannot be read now'):
      RunCheckpoints(path).recover(warn=pytest.fail)
  assert sorted(os.listdir(directory)) == before


@pytest.mark.parametrize('code, is_damage', [
    (errno.ESTALE, False), (errno.EMFILE, False), (errno.EIO, True)])
def test_error_of_a_network_file_system_is_no_damage(
    saved, directory, monkeypatch, code, is_damage):
  def read(path):
    raise OSError(code, os.strerror(code), path)

  newest = saved.newest_valid(pytest.fail)
  monkeypatch.setattr(checkpoint_seal, 'file_sha256', read)
  if is_damage:
    assert os.strerror(code) in checkpoint_seal.find_broken_seal(newest)
  else:
    with pytest.raises(StoreAwayError) as error:
      saved.recover(pytest.fail)
    assert error.value.exit_code == 1
    assert not (directory / 'damaged').exists()


def test_directory_from_before_there_were_seals_is_read(directory):
  model = Tiny()
  manager = tf.train.CheckpointManager(
      tf.train.Checkpoint(model=model), str(directory), max_to_keep=3)
  for step in (2, 4, 6):
    manager.save(checkpoint_number=step)
  checkpoints, said = RunCheckpoints(str(directory)), []
  assert checkpoints.recover(said.append) == str(directory / 'ckpt-6')
  assert checkpoint_seal.read_progress(str(directory / 'ckpt-6')) == {}
  flip(directory / DATA)
  assert checkpoints.recover(said.append) == str(directory / 'ckpt-4')
  assert len(said) == 1 and 'ckpt-6 is damaged (' in said[0]
  # From here on there are seals.
  saved = checkpoints.save(model, step=6, stage_index=0)
  assert checkpoints.recover(said.append) == saved
  flip(directory / DATA)
  assert checkpoints.recover(said.append) == str(directory / 'ckpt-4')


def test_leftovers_of_a_save_that_was_cut_short_are_deleted(saved, directory):
  (directory / 'ckpt-8_temp').mkdir()
  for name in ('ckpt-8_temp/part-00000-of-00001.index', DATA.replace('6', '8'),
               'ckpt-6.index.tempstate123', 'ckpt-6.seal.json.partial'):
    (directory / name).write_text('')
  # What this package has not written is not its business.
  foreign = ('ckpt-notes.txt', 'ckpt-8.tar', 'ckpt-4.data.backup')
  for name in foreign:
    (directory / name).write_text('')
  before = {path.name for path in directory.glob('ckpt-[246].*')}
  assert saved.recover(pytest.fail) == str(directory / 'ckpt-6')
  expected = before - {'ckpt-6.index.tempstate123', 'ckpt-6.seal.json.partial'}
  assert {path.name for path in directory.iterdir()} == (
      expected | {'checkpoint', *foreign})


def test_old_ones_are_deleted_whole(directory):
  checkpoints = RunCheckpoints(str(directory), max_to_keep=2)
  for step in (2, 4, 6, 10):
    checkpoints.save(Tiny(), step=step, stage_index=0)
  assert sorted(path.name for path in directory.iterdir()) == [
      'checkpoint',
      'ckpt-10.data-00000-of-00001', 'ckpt-10.index', 'ckpt-10.seal.json',
      DATA, 'ckpt-6.index', 'ckpt-6.seal.json']


def test_disk_that_takes_no_more_leaves_the_checkpoint_before(saved, directory):
  # A real refusal by the kernel: files of this process may not grow further.
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
  try:
    with pytest.raises(OSError) as error:
      saved.save(Tiny(100_000), step=8, stage_index=0)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert str(error.value) == (
      f'{directory}/ckpt-8 could not be written (File too large); what there was '
      f'of it is removed, and {directory}/ckpt-6 is still good. Make room, or '
      'mend what is wrong, and give the same command again.')
  assert not list(directory.glob('ckpt-8*'))
  assert saved.newest_valid(pytest.fail) == str(directory / 'ckpt-6')
  # There is room again.
  assert saved.save(Tiny(), step=8, stage_index=0) == saved.newest_valid(
      pytest.fail)


def test_clock_that_is_set_back_changes_no_order(directory, monkeypatch):
  wall = iter(range(2_000_000_000, 0, -100_000_000))
  monkeypatch.setattr(time, 'time', lambda: float(next(wall)))
  checkpoints = RunCheckpoints(str(directory), max_to_keep=2)
  for number, step in enumerate((2, 4, 6, 8)):
    checkpoints.save(Tiny(), step=step, stage_index=0)
    for path in directory.glob(f'ckpt-{step}.*'):
      os.utime(path, (10_000 - number, 10_000 - number))
  assert checkpoints.recover(pytest.fail) == str(directory / 'ckpt-8')
  assert sorted(path.name for path in directory.glob('*.index')) == [
      'ckpt-6.index', 'ckpt-8.index']
  assert tf.train.latest_checkpoint(str(directory)) == str(directory / 'ckpt-8')


def test_seal_keeps_what_is_no_tensor(directory):
  path = RunCheckpoints(str(directory)).save(
      Tiny(), step=2, stage_index=0, progress=lambda: {'wall_seconds': 1.5})
  assert checkpoint_seal.read_progress(path) == {'wall_seconds': 1.5}
