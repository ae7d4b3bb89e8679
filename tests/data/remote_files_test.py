"""Paths that only TensorFlow can open, as `gs://`: here `ram://`."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data import build
from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from official_ext.data.settings import PrepareSettings
from official_ext.training import data_mistakes

_SETTINGS = PrepareSettings(
    vocab_size=60, seq_length=16, max_predictions_per_seq=3, num_shards=2,
    eval_fraction=0.2)


@pytest.fixture(scope='module', name='folders')
def _folders(tmp_path_factory):
  """The same text prepared from and to memory, and on the disk."""
  text = '\n\n'.join(
      f'Good text number {number}.\nMore of it.' for number in range(90))
  with tf.io.gfile.GFile('ram://remote/in/a.txt', 'w') as file:
    file.write(text)
  local = tmp_path_factory.mktemp('local')
  (local / 'a.txt').write_text(text)
  build.prepare('ram://remote/data', ['ram://remote/in/*.txt'], _SETTINGS,
                num_workers=1)
  build.prepare(str(local / 'data'), [str(local / 'a.txt')], _SETTINGS,
                num_workers=1)
  return 'ram://remote/data', str(local / 'data')


def test_prepare_writes_the_same_there(folders):
  remote, local = (Manifest.read(folder) for folder in folders)
  assert remote.splits == local.splits and remote.index == local.index
  assert not tf.io.gfile.exists(f'{folders[0]}/.partial')
  said = []
  assert build.prepare(folders[0], ['ram://remote/in/*.txt'], _SETTINGS,
                       num_workers=1, say=said.append) == remote
  assert said == [f'{folders[0]} already holds this data set; nothing to do']


def test_training_reads_the_same_from_there(folders):
  batches = [
      [batch['input_word_ids'].numpy() for batch in PretrainLoader(
          folder, Manifest.read(folder)).training_batches(
              BatchSlice(8), seed=3, start_step=5).take(10)]
      for folder in folders]
  np.testing.assert_array_equal(*batches)


def test_a_shard_cut_short_there_is_found(folders):
  manifest = Manifest.read(folders[0])
  path = f'{folders[0]}/{manifest.splits["train"].shards[1].file}'
  with tf.io.gfile.GFile(path, 'rb') as file:
    content = file.read()
  assert not data_mistakes.file_mistakes(folders[0], manifest)
  tf.io.gfile.remove(path)  # To a file that is there, ram:// appends.
  with tf.io.gfile.GFile(path, 'wb') as file:
    file.write(content[:100])
  (mistake,) = data_mistakes.file_mistakes(folders[0], manifest)
  assert f'{path}: record 0 at byte 0 is cut short, the file ends at byte 100' in (
      mistake)
  tf.io.gfile.remove(path)
  (mistake,) = data_mistakes.file_mistakes(folders[0], manifest)
  assert '(is missing, should be' in mistake


def test_an_input_that_is_gone_is_one_line(folders):
  del folders
  with pytest.raises(ValueError, match="--input 'ram://nowhere/.*' matches no file"):
    build.prepare('ram://remote/other', ['ram://nowhere/*.txt'], _SETTINGS,
                  num_workers=1)
