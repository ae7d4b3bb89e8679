"""SQuAD's files, and what can be wrong with them."""

import json
import os

import pytest

from official_ext.downstream.squad_files import read_squad_files
from tests.downstream import samples


def read(folder, task='squad11'):
  mistakes = []
  return read_squad_files(task, str(folder), mistakes), mistakes


@pytest.mark.parametrize('task, version', [('squad11', '1.1'), ('squad20', '2.0')])
def test_official_files_have_no_mistakes(tmp_path, task, version):
  files, mistakes = read(samples.write_squad(tmp_path, version), task)
  assert not mistakes
  assert len(files.dev_data[0]['paragraphs']) == 8
  assert set(files.sha256) == {f'train-v{version}.json', f'dev-v{version}.json'}


def test_missing_files_are_all_named(tmp_path):
  _, mistakes = read(tmp_path)
  assert mistakes == [
      f'{tmp_path}/{split}-v1.1.json is missing; give --task_dir the folder with '
      'the official files of SQuAD 1.1' for split in ('train', 'dev')]


def test_what_is_no_json_says_where(tmp_path):
  samples.write_squad(tmp_path)
  (tmp_path / 'dev-v1.1.json').write_text('{"data": [\n}')
  _, mistakes = read(tmp_path)
  assert len(mistakes) == 1
  assert mistakes[0].startswith(f'{tmp_path}/dev-v1.1.json: not JSON in UTF-8 (')
  assert 'line 2 column 1' in mistakes[0]


def change(path, edit):
  with open(path) as file:
    content = json.load(file)
  edit(content['data'][0]['paragraphs'][2])
  with open(path, 'w') as file:
    json.dump(content, file)


def answer(**changes):
  return lambda paragraph: paragraph['qas'][0]['answers'][0].update(changes)


def question(**changes):
  return lambda paragraph: paragraph['qas'][0].update(changes)


@pytest.mark.parametrize('edit, place, message', [
    (lambda paragraph: paragraph.pop('context'), '', "no text 'context'"),
    (lambda paragraph: paragraph.update(qas={}), '', "no list 'qas'"),
    (lambda paragraph: paragraph['qas'][0].pop('id'), '.qas[0]', "no text 'id'"),
    (question(id='q1'), '.qas[0]',
     "the id 'q1' is there twice; expected every question once"),
    (question(answers=[]), '.qas[0]', '0 answers; expected exactly one answer'),
    (question(is_impossible=True), '.qas[0]',
     'is_impossible is true; expected a file of SQuAD 1.1 (or --task squad20)'),
    (answer(answer_start=900, text='alpha'), '.qas[0]',
     'answer_start is 900 for 5 characters, but the context has '),
    (answer(text=7), '.qas[0]', "an answer without 'text' and 'answer_start'"),
])
def test_a_mistake_says_where_it_is(tmp_path, edit, place, message):
  samples.write_squad(tmp_path)
  path = os.path.join(tmp_path, 'train-v1.1.json')
  change(path, edit)
  _, mistakes = read(tmp_path)
  assert len(mistakes) == 1
  assert mistakes[0].startswith(
      f'{path}: data[0].paragraphs[2]{place}: {message}')


def test_a_file_of_the_other_version(tmp_path):
  samples.write_squad(tmp_path, '1.1')
  for split in ('train', 'dev'):
    os.rename(tmp_path / f'{split}-v1.1.json', tmp_path / f'{split}-v2.0.json')
  _, mistakes = read(tmp_path, 'squad20')
  assert "no truth value 'is_impossible'; expected a file of SQuAD 2.0" in (
      mistakes[0])
  # Five of each file, and how many more.
  assert len(mistakes) == 12
  assert mistakes[5].endswith('train-v2.0.json: 19 more mistakes like these')


def test_another_layout(tmp_path):
  samples.write_squad(tmp_path)
  (tmp_path / 'dev-v1.1.json').write_text('[]')
  _, mistakes = read(tmp_path)
  assert mistakes == [
      f"{tmp_path}/dev-v1.1.json: no list 'data'; expected the official layout: "
      'data[].paragraphs[].{context, qas[].{id, question, answers}}']


def test_answers_that_are_nowhere_in_place(tmp_path):
  samples.write_squad(tmp_path)
  path = os.path.join(tmp_path, 'train-v1.1.json')
  files, mistakes = read(tmp_path)
  assert files.num_training_questions == 24
  assert not mistakes
  with open(path) as file:
    content = json.load(file)
  for article in content['data']:
    for paragraph in article['paragraphs']:
      paragraph['qas'][0]['answers'][0]['text'] = 'X'
  with open(path, 'w') as file:
    json.dump(content, file)
  _, mistakes = read(tmp_path)
  assert mistakes == [
      f"{path}: data: no answer's text stands at its answer_start in the "
      'context; expected places in characters, from 0']
