"""The best model of a sweep stays whole, whenever a process is killed."""

import json
import os

import pytest
import tensorflow as tf

from official_ext.downstream.sweep_directory import SweepDirectory

FILES = ('ckpt-0.index', 'ckpt-0.data-00000-of-00001', 'vocab.txt')


def write_model(path, trial):
  os.makedirs(path, exist_ok=True)
  for name in FILES:
    with open(os.path.join(path, name), 'w') as file:
      file.write(f'{name} of {trial}')
  with open(os.path.join(path, 'task.json'), 'w') as file:
    json.dump({'trial': trial}, file)


def read_all(path):
  return {name: (path / name).read_text() for name in os.listdir(path)}


@pytest.fixture
def folder(tmp_path):
  """Trial 'a' is done, and 'b', a better one, is being put in its place."""
  directory = SweepDirectory(str(tmp_path))
  directory.start({})
  write_model(directory.new_model, 'a')
  (tmp_path / 'finetuned.new' / 'of_a_alone').write_text('x')
  directory.finish_trial('a', {'score': 0.5})
  write_model(directory.new_model, 'b')
  (tmp_path / 'trials' / 'b').mkdir()
  (tmp_path / 'trials' / 'b' / 'result.json').write_text('{"score": 0.7}')
  return tmp_path


class Killed(Exception):
  pass


@pytest.mark.parametrize('path', ['', 'file://'])
@pytest.mark.parametrize('after', range(12))
def test_best_model_is_whole_after_a_kill_at_any_file(
    folder, monkeypatch, path, after):
  left = [after]

  def kill_at(name):
    original = getattr(tf.io.gfile, name)

    def function(*args, **kwargs):
      if not left[0]:
        raise Killed
      left[0] -= 1
      return original(*args, **kwargs)
    monkeypatch.setattr(tf.io.gfile, name, function)

  for name in ('copy', 'remove', 'rmtree', 'rename', 'makedirs'):
    kill_at(name)
  try:
    SweepDirectory(f'{path}{folder}').start({})
  except Killed:
    pass
  monkeypatch.undo()
  SweepDirectory(f'{path}{folder}').start({})
  write_model(folder / 'expected', 'b')
  assert read_all(folder / 'finetuned') == read_all(folder / 'expected')
  assert not (folder / 'finetuned.new').exists()


def test_score_that_is_no_number_is_never_the_best(folder):
  (folder / 'trials' / '0_nan').mkdir()
  (folder / 'trials' / '0_nan' / 'result.json').write_text('{"score": NaN}')
  assert SweepDirectory(str(folder)).best() == 'b'
