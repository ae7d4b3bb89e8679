"""The table as papers print it."""

import json

import pytest

from official_ext.downstream.score_table import glue_average
from official_ext.downstream.score_table import ScoreTable

OURS = {'cola': {'matthews': 0.501}, 'mrpc': {'f1': 0.891, 'accuracy': 0.852},
        'mnli': {'accuracy_matched': 0.846, 'accuracy_mismatched': 0.836}}
BASELINE = {'cola': {'matthews': 0.521}, 'mrpc': {'f1': 0.889, 'accuracy': 0.848},
            'mnli': {'accuracy_matched': 0.846, 'accuracy_mismatched': 0.834}}


def test_a_row_a_model_and_a_column_a_task(tmp_path):
  table = ScoreTable({'checkpoint': OURS, 'baseline': BASELINE})
  assert table.markdown() == (
      '|  | CoLA | MRPC | MNLI-m/mm | average of 3 |\n'
      '| --- | --- | --- | --- | --- |\n'
      '| checkpoint | 50.1 | 89.1/85.2 | 84.6/83.6 | 73.8 |\n'
      '| baseline | 52.1 | 88.9/84.8 | 84.6/83.4 | 74.3 |\n')
  assert list(table.write(str(tmp_path / 'scores'))) == [
      f'{tmp_path}/scores.json', f'{tmp_path}/scores.md']
  assert (tmp_path / 'scores.md').read_text() == table.markdown()
  content = json.loads((tmp_path / 'scores.json').read_text())
  assert content['baseline']['mnli'] == BASELINE['mnli']
  assert 'glue' not in content['checkpoint']
  assert content['checkpoint']['average'] == pytest.approx(
      (0.501 + (0.891 + 0.852) / 2 + (0.846 + 0.836) / 2) / 3)


def test_squad_has_exact_match_and_f1_and_one_task_no_average():
  table = ScoreTable({'checkpoint': {'squad20': {
      'exact_match': 0.77, 'f1': 0.8, 'no_answer_f1': 0.9}}})
  assert table.header == ['', 'SQuAD 2.0 EM/F1']
  assert table.rows == [['checkpoint', '77.0/80.0']]
  assert table.json()['checkpoint'].keys() == {'squad20'}


def test_the_papers_average_comes_out_of_its_columns():
  # CompoundGrow, table 3: GLUE of BERT base without growth is 78.3.
  metrics = {
      'cola': {'m': 52.1}, 'sst2': {'a': 93.5}, 'mrpc': {'f': 88.9, 'a': 84.8},
      'stsb': {'p': 87.1, 's': 85.8}, 'qqp': {'f': 71.2, 'a': 89.2},
      'mnli': {'m': 84.6, 'mm': 83.4}, 'qnli': {'a': 90.5}, 'rte': {'a': 66.4},
      'wnli': {'a': 65.1}}
  scores = {task: {name: value / 100 for name, value in of_task.items()}
            for task, of_task in metrics.items()}
  table = ScoreTable({'BERT base': scores})
  assert table.header[-1] == 'GLUE'
  assert table.rows[0][-1] == '78.3'
  assert table.json()['BERT base']['glue'] == glue_average(scores)
