"""Windows, answers and scores of SQuAD, worked out by hand."""

import json

from official.nlp.data import squad_lib
import numpy as np
import pytest

from official_ext.data.tokenizer import build_tokenizer
from official_ext.downstream.squad_answers import Answers
from official_ext.downstream.squad_answers import best_null_threshold
from official_ext.downstream.squad_answers import read_answers
from official_ext.downstream.squad_answers import squad_metrics
from official_ext.downstream.squad_data import SquadData
from official_ext.downstream.squad_features import pack_windows
from official_ext.downstream.squad_files import read_squad_files
from tests.downstream import samples

PIECES = {number: piece for number, piece in enumerate(samples.VOCABULARY)}


def data(*questions):
  """Questions as (id, gold answers)."""
  return [{'paragraphs': [{'qas': [
      {'id': name, 'answers': [{'text': text} for text in gold]}
      for name, gold in questions]}]}]


@pytest.mark.parametrize('prediction, gold, exact, f1', [
    # Case, punctuation and articles do not count.
    ('the Eiffel Tower.', ['Eiffel tower'], 1, 1),
    # 2 of 3 words are right, of 2: P 2/3, R 1, F1 4/5.
    ('big Eiffel tower', ['Eiffel tower'], 0, 0.8),
    # The best of several gold answers: P 1, R 1/2 against the second.
    ('tower', ['Gustave', 'Eiffel tower'], 0, 2 / 3),
    # Repeated words count as often as they are in both: 1 of 2, of 3.
    ('new new', ['new york city'], 0, 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
    ('rome', ['paris'], 0, 0),
])
@pytest.mark.parametrize('has_unanswerable', [False, True])
def test_exact_match_and_f1_are_the_official_ones(
    prediction, gold, exact, f1, has_unanswerable):
  found = squad_metrics(data(('q', gold)), {'q': prediction},
                        has_unanswerable=has_unanswerable)
  assert found['exact_match'] == exact
  assert found['f1'] == pytest.approx(f1, abs=1e-12)


def test_questions_without_an_answer_want_an_empty_one():
  found = squad_metrics(
      data(('a', ['paris']), ('b', []), ('c', []), ('d', ['rome'])),
      {'a': 'paris', 'b': '', 'c': 'paris', 'd': ''}, has_unanswerable=True)
  assert found == pytest.approx({
      'exact_match': 0.5, 'f1': 0.5, 'has_answer_exact_match': 0.5,
      'has_answer_f1': 0.5, 'no_answer_exact_match': 0.5, 'no_answer_f1': 0.5})


@pytest.mark.parametrize('odds, threshold, f1', [
    # a and b are answered rightly, c has no answer: best between b and c.
    ({'a': -3., 'b': 1., 'c': 2.}, 1., 1.),
    # Answering c costs nothing more than b gives: a alone, or all three, 2/3.
    ({'a': -3., 'b': 2., 'c': 1.}, -3., 2 / 3),
])
def test_the_threshold_with_the_best_f1(odds, threshold, f1):
  questions = data(('a', ['paris']), ('b', ['rome']), ('c', []))
  answers = Answers({'a': 'paris', 'b': 'rome', 'c': 'x'}, {}, odds)
  found = best_null_threshold(questions, answers)
  assert found == threshold
  texts = answers.above(found)
  assert squad_metrics(questions, texts, has_unanswerable=True)[
      'f1'] == pytest.approx(f1)


def test_the_threshold_where_it_is_best_to_answer_nothing():
  questions = data(('a', []), ('b', []), ('c', ['paris']))
  answers = Answers({'a': 'x', 'b': 'y', 'c': 'z'}, {},
                    {'a': -5., 'b': -4., 'c': -3.})
  threshold = best_null_threshold(questions, answers)
  assert answers.above(threshold) == {'a': '', 'b': '', 'c': ''}


@pytest.fixture(name='windows', scope='module')
def _windows(tmp_path_factory):
  """One question on a context that takes four windows of six pieces."""
  folder = tmp_path_factory.mktemp('squad')
  context = "Alpha beta's. gamma is in Paris, delta is in Rome"
  content = {'version': '2.0', 'data': [{'title': 't', 'paragraphs': [{
      'context': context, 'qas': [{
          'id': 'q', 'question': 'who is in rome', 'is_impossible': False,
          'answers': [{'text': 'delta', 'answer_start':
                       context.index('delta')}]}]}]}]}
  for split in ('train', 'dev'):
    (folder / f'{split}-v2.0.json').write_text(json.dumps(content))
  return str(folder)


def pack(folder, is_training):
  examples = squad_lib.read_squad_examples(
      f'{folder}/{"train" if is_training else "dev"}-v2.0.json', is_training,
      True)
  return examples, *pack_windows(
      examples, build_tokenizer(samples.VOCABULARY), seq_length=12,
      doc_stride=3, max_query_length=3, is_training=is_training)


def test_windows_overlap_and_say_where_the_answer_is(windows):
  _, packed, features = pack(windows, True)
  assert not features
  pieces = [[PIECES[word] for word in packed.words[start:end]]
            for start, end in zip(packed.row_splits, packed.row_splits[1:])]
  # "," is no piece of the tiny vocabulary.
  context = ("alpha beta ' [UNK] . gamma is in paris [UNK] delta is in "
             'rome').split()
  # The question is cut to three pieces; six of the context fit in.
  starts = (0, 3, 6, 9)
  assert pieces == [
      ['[CLS]', 'who', 'is', 'in', '[SEP]', *context[start:start + 6], '[SEP]']
      for start in starts]
  answer = context.index('delta')
  expected = [5 + answer - start if start <= answer < start + 6 else 0
              for start in starts]
  assert packed.labels['start_positions'].tolist() == expected
  assert packed.labels['end_positions'].tolist() == expected
  assert packed.types[:12].tolist() == [0] * 5 + [1] * 7


def test_an_answer_is_read_off_the_text_itself(windows):
  examples, packed, features = pack(windows, False)
  starts, ends = (np.zeros([packed.num_examples, 16], np.float32)
                  for _ in range(2))

  def answers(max_answer_length=8):
    return read_answers(
        examples, features, starts, ends, n_best_size=4,
        max_answer_length=max_answer_length, lower_case=True,
        has_unanswerable=True)

  # Of the word "beta's." in the first window.
  starts[0, 6], ends[0, 6] = 9, 8
  found = answers()
  assert found.texts == {'q': 'beta'}
  # [CLS] has 0 + 0 in every window.
  assert found.null_odds == {'q': 0 - 9 - 8}
  assert found.nbest['q'][0]['text'] == 'beta'
  assert (found.nbest['q'][0]['start_logit'],
          found.nbest['q'][0]['end_logit']) == (9, 8)
  assert [entry['text'] for entry in found.nbest['q']] == ['beta', '']
  assert found.above(-17.5) == {'q': ''}
  assert found.above(-17.0) == {'q': 'beta'}

  # Padding, the question and what is too long are no answers.
  starts[2, 14] = ends[2, 15] = 50
  starts[1, 2] = ends[1, 2] = 40
  ends[0, 8] = 60
  assert answers(max_answer_length=2).texts == {'q': 'beta'}
  # The text is that of the context, with its capitals. Of the two windows with
  # this word the one counts that has more around it.
  starts[1, 10], ends[1, 10] = 300, 300
  starts[2, 7], ends[2, 7] = 200, 200
  assert answers().texts == {'q': 'Paris'}


def test_a_fixed_threshold_is_used_as_it_is(windows):
  mistakes = []
  files = read_squad_files('squad20', windows, mistakes)
  assert not mistakes
  options = dict(seq_length=12, doc_stride=3, max_query_length=3,
                 max_answer_length=8, n_best_size=4)
  tokenizer = build_tokenizer(samples.VOCABULARY)
  for threshold, text in ((-1000.0, ''), (1000.0, 'beta')):
    squad = SquadData(files, tokenizer, null_score_threshold=threshold, **options)
    starts, ends = (np.zeros([squad.dev['dev'].num_examples, 16], np.float32)
                    for _ in range(2))
    starts[0, 6], ends[0, 6] = 9, 8
    evaluation = squad.evaluate({'dev': (starts, ends)})
    assert evaluation.null_score_threshold == threshold
    assert evaluation.details.above(threshold) == {'q': text}
