"""The files of a run: written once, compared, and cut back."""

import json

import pytest

from official_ext.training.run_directory import RunDirectory


@pytest.fixture
def start(tmp_path):
  for name in ('vocab.txt', 'manifest.json'):
    (tmp_path / name).write_text(name)

  def start(schedule, config_text='a = 1\n', is_chief=True):
    directory = RunDirectory(str(tmp_path / 'run'), is_chief=is_chief)
    directory.start(
        config_text=config_text, schedule=schedule,
        vocabulary_file=str(tmp_path / 'vocab.txt'),
        data_manifest_file=str(tmp_path / 'manifest.json'))
    return directory

  return start


def test_start_writes_what_the_run_is(start, tmp_path):
  start({'num_steps': 10})
  run = tmp_path / 'run'
  assert (run / 'config.gin').read_text() == 'a = 1\n'
  assert json.loads((run / 'schedule.json').read_text()) == {'num_steps': 10}
  assert (run / 'vocab.txt').read_text() == 'vocab.txt'
  assert (run / 'data_manifest.json').read_text() == 'manifest.json'


def test_another_run_in_the_directory_is_refused_with_all_differences(start):
  start({'num_steps': 10, 'seed': 1, 'stages': [{'end_step': 5}]})
  with pytest.raises(ValueError) as error:
    start({'num_steps': 12, 'seed': 1, 'stages': [{'end_step': 6}]})
  message = str(error.value)
  assert 'num_steps was 10, is 12' in message
  assert 'stages[0].end_step was 5, is 6' in message
  assert 'seed' not in message
  assert 'Take another model_dir' in message


def test_tuples_are_no_difference(start):
  start({'stages': (1, 2)})
  start({'stages': (1, 2)})


def test_a_changed_configuration_is_kept_beside_the_first(start, tmp_path):
  start({}, 'a = 1\n')
  start({}, 'a = 2\n')
  assert (tmp_path / 'run/config.gin').read_text() == 'a = 1\n'
  assert (tmp_path / 'run/config_1.gin').read_text() == 'a = 2\n'
  start({}, 'a = 2\n')
  assert not (tmp_path / 'run/config_2.gin').exists()


def test_a_configuration_that_was_deleted_is_written_again(start, tmp_path):
  start({}, 'a = 1\n')
  (tmp_path / 'run/config.gin').unlink()
  start({}, 'a = 2\n')
  assert (tmp_path / 'run/config.gin').read_text() == 'a = 2\n'


def test_what_a_user_put_there_is_not_overwritten(start, tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run/config.gin').write_text('# my own\n')
  start({}, 'a = 1\n')
  assert (tmp_path / 'run/config.gin').read_text() == '# my own\n'
  assert (tmp_path / 'run/config_1.gin').read_text() == 'a = 1\n'
  (tmp_path / 'run/schedule.json').unlink()
  (tmp_path / 'run/vocab.txt').write_text('my own\n')
  with pytest.raises(ValueError, match=r'run/vocab\.txt is of no run that began'):
    start({}, 'a = 1\n')
  assert (tmp_path / 'run/vocab.txt').read_text() == 'my own\n'


def test_a_damaged_schedule_is_named(start, tmp_path):
  start({})
  (tmp_path / 'run/schedule.json').write_text('{"num')
  with pytest.raises(ValueError, match=r'schedule\.json is damaged \(Unterminated'):
    start({})


def test_records_round_trip_and_a_torn_line_is_left_out(start, tmp_path):
  directory = start({})
  directory.append('metrics.jsonl', {'step': 1})
  directory.append('metrics.jsonl', {'step': 2})
  with open(tmp_path / 'run/metrics.jsonl', 'a') as file:
    file.write('{"step": 3, "lo')
  assert directory.records('metrics.jsonl') == [{'step': 1}, {'step': 2}]


def test_forget_after_drops_what_will_be_done_again(start):
  directory = start({})
  for step in (1, 2, 3):
    directory.append('metrics.jsonl', {'step': step})
    directory.append('growth.jsonl', {'step': step})
  directory.forget_after(2)
  assert directory.records('metrics.jsonl') == [{'step': 1}, {'step': 2}]
  assert directory.records('growth.jsonl') == [{'step': 1}, {'step': 2}]


def test_only_the_chief_writes(start, tmp_path):
  directory = start({}, is_chief=False)
  directory.append('metrics.jsonl', {'step': 1})
  assert not (tmp_path / 'run').exists()
