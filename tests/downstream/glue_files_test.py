"""GLUE's files as they are distributed, and what can be wrong with them."""

import os
import pathlib

import numpy as np
import pytest

from official_ext.downstream.glue_files import read_glue_files
from official_ext.downstream.glue_tasks import GLUE_TASKS
from tests.downstream import samples


def read(name, folder):
  mistakes = []
  return read_glue_files(GLUE_TASKS[name], str(folder), mistakes), mistakes


def cola_dir(tmp_path, train='gj04\t1\t\tall is well\n',
             dev='gj04\t0\t*\twell all is\n', test=None):
  for name, text in (('train', train), ('dev', dev), ('test', test)):
    if text is not None:
      data = text if isinstance(text, bytes) else text.encode()
      (tmp_path / f'{name}.tsv').write_bytes(data)
  return tmp_path


@pytest.mark.parametrize('name', GLUE_TASKS)
def test_every_task_is_read_in_its_own_layout(name, glue_dir):
  task = GLUE_TASKS[name]
  files, mistakes = read(name, os.path.join(glue_dir, task.folder))
  assert not mistakes
  for examples in (files.train, *files.dev.values()):
    assert len(examples.texts) == len(examples.labels)
    assert not examples.skipped_lines
  assert len(files.train.texts) == 64
  # Read again by hand: the second text decides, or a word of the only one.
  words = ('bad', 'good') if len(task.text_columns) == 1 else (
      'no', 'yes', 'other')
  deciding = files.train.second_texts or files.train.texts
  expected = [next(i for i, word in enumerate(words) if word in text.split())
              for text in deciding]
  if name == 'stsb':
    expected = [(0.5, 2.5, 4.75)[i] for i in expected]
  np.testing.assert_array_equal(files.train.labels, expected)
  if files.train.second_texts:
    assert all(text.endswith(' "') for text in files.train.texts)
  for examples in files.test.values():
    assert examples.labels is None
    assert examples.indices == [str(number) for number in range(7)]
  assert len(files.sha256) == {'mnli': 3}.get(name, 2)
  assert len(files.test_sha256) == {'mnli': 3}.get(name, 1)


def test_the_submission_has_all_of_glues_files(glue_dir):
  names = [name for task in GLUE_TASKS.values()
           for name in read(task.name, os.path.join(glue_dir, task.folder))[0].test]
  assert sorted(names) == sorted(f'{name}.tsv' for name in (
      'AX', 'CoLA', 'MNLI-m', 'MNLI-mm', 'MRPC', 'QNLI', 'QQP', 'RTE', 'SST-2',
      'STS-B', 'WNLI'))


def test_cola_under_its_original_names(tmp_path):
  for name in ('in_domain_train', 'in_domain_dev'):
    (tmp_path / f'{name}.tsv').write_text('gj04\t1\t\tall is "well\n')
  files, mistakes = read('cola', tmp_path)
  assert not mistakes
  assert files.train.texts == ['all is "well']
  assert not files.test


def test_ends_of_lines_and_odd_characters(tmp_path):
  cola_dir(tmp_path, train='a\t1\t\tone\u2028line \u00e9\r\na\t0\t*\t"two\r\n')
  files, mistakes = read('cola', tmp_path)
  assert not mistakes
  assert files.train.texts == ['one\u2028line \u00e9', '"two']


def test_broken_lines_of_qqp_are_counted_and_others_are_mistakes(tmp_path):
  header = 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n'
  row = '1\t2\t3\twho\twhat\t1\n'
  (tmp_path / 'train.tsv').write_text(header + '1\t2\t3\twho\n' + row)
  (tmp_path / 'dev.tsv').write_text(header + row)
  files, mistakes = read('qqp', tmp_path)
  assert not mistakes
  assert (len(files.train.texts), files.train.skipped_lines) == (1, 1)
  (tmp_path / 'test.tsv').write_text('id\tquestion1\tquestion2\n1\twho\n')
  _, mistakes = read('qqp', tmp_path)
  assert mistakes == [
      f'{tmp_path}/test.tsv:2: 2 columns; expected 3 separated by tabs (id, '
      'question1, question2)']


@pytest.mark.parametrize('files, message', [
    (dict(train=None),
     'train.tsv is missing; give --task_dir the folder with the files of CoLA as '
     'GLUE distributes them'),
    (dict(train=''), 'train.tsv:1: no examples; expected at least one line of them'),
    (dict(train='a\t1\t\tone\na\t1\tone\n'),
     'train.tsv:2: 3 columns; expected 4 separated by tabs (source, label, mark, '
     'sentence)'),
    (dict(dev='a\tyes\t\tone\n'),
     "dev.tsv:1: label is 'yes'; expected one of 0, 1"),
    (dict(train=b'a\t1\t\tone\na\t1\t\t\xff\n'),
     'train.tsv:2: not UTF-8 (byte 5 of the line); expected UTF-8 text'),
    (dict(test='a\t1\t\tone\n'),
     "test.tsv:1: the header has no 'sentence', 'index' (it is 'a', '1', '', "
     "'one'); expected CoLA's own file, columns separated by tabs"),
])
def test_a_mistake_says_which_file_which_line_and_what_was_expected(
    tmp_path, files, message):
  _, mistakes = read('cola', cola_dir(tmp_path, **files))
  assert mistakes == [f'{tmp_path}/{message}']


def test_all_files_are_looked_at_and_of_many_mistakes_the_first_are_told(tmp_path):
  cola_dir(tmp_path, train='x\n' * 7, dev='a\t2\t\tone\n')
  _, mistakes = read('cola', tmp_path)
  assert len(mistakes) == 7
  assert mistakes[5] == f'{tmp_path}/train.tsv: 2 more mistakes like these'
  assert 'dev.tsv:1:' in mistakes[6]


@pytest.mark.parametrize('score', ['5.5', '-1', 'nan', 'high', ''])
def test_scores_are_numbers_from_0_to_5(tmp_path, score):
  header = ('sentence1', 'sentence2', 'score')
  for split in ('train', 'dev'):
    samples.write_tsv(
        str(tmp_path / f'{split}.tsv'), header, [('a', 'b', '5.000')])
  with open(tmp_path / 'dev.tsv', 'a') as file:
    file.write(f'a\tb\t{score}\n')
  files, mistakes = read('stsb', tmp_path)
  assert files.train.labels.tolist() == [5.0]
  assert mistakes == [f'{tmp_path}/dev.tsv:3: score is {score!r}; expected a '
                      'number from 0 to 5']


def test_the_diagnostic_set_is_found_beside_mnli(glue_dir):
  folder = pathlib.Path(glue_dir) / 'MNLI'
  files, _ = read('mnli', folder)
  assert len(files.test['AX.tsv'].texts) == 7
