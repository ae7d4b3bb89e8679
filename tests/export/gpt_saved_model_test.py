"""A GPT's SavedModel in a process of its own, against NumPy in this one."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data.tokenizer import build_tokenizer
from official_ext.export.saved_model import export_saved_model
from official_ext.modeling import weights
from tests.export import gpt_run
from tests.forked_command import run_command
from tests.growth import numpy_gpt

PIECES = gpt_run.PIECES
LENGTH = gpt_run.TARGET.sequence_length
TEXTS = [
    'The function returns',
    '',
    'values, of [MASK] the CAFÉ',
    'a the ' * 20,                      # the beginning is cut off
    '中 🙂 list',
]
# Never drawn: [PAD], [UNK], [CLS] and [MASK].
NEVER = [0, 1, 2, 4]
SEP = 3
GREEDY = dict(max_new_tokens=6, temperature=0.0, top_k=0, top_p=1.0,
              stop_token='')


def _prompt(text, most_tokens):
  """Ids of [CLS] and the end of the text, without any of the export's code."""
  ids = build_tokenizer(PIECES, lower_case=True)([text]).to_list()[0]
  return [2, *ids[max(0, len(ids) + 1 - most_tokens):]]


def _log_probabilities(arrays, ids):
  """Of the token after `ids`, without those that are never drawn."""
  logits = numpy_gpt.logits(arrays, gpt_run.TARGET, np.array(ids))[-1]
  logits[NEVER] = -np.inf
  return logits - np.log(np.exp(logits).sum())


def _greedy(arrays, text, max_new_tokens, stop=None):
  """Ids, whether the text ended, and the log probability."""
  prompt = _prompt(text, LENGTH - max_new_tokens)
  ids, total = list(prompt), 0.0
  for _ in range(max_new_tokens):
    log_probabilities = _log_probabilities(arrays, ids)
    token = int(np.argmax(log_probabilities))
    total += log_probabilities[token]
    if token in (SEP, stop):
      return ids[len(prompt):], True, total
    ids.append(token)
  return ids[len(prompt):], False, total


def _joined(ids):
  text = ''
  for index in ids:
    piece = PIECES[index]
    if piece.startswith('##'):
      text += piece[2:]
    elif piece in '].,' or text.endswith('['):
      text += piece
    else:
      text += ' ' + piece
  return text


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  path = tmp_path_factory.mktemp('run')
  model = gpt_run.write_run(path)
  # Goes into the graph: the other process draws alike every time.
  tf.random.set_seed(1)
  return weights.read_weights(model), export_saved_model(str(path))


def _ask(version_dir, calls, path):
  """Asks one other process many things at once."""
  calls_file, answers_file = path / 'calls.json', path / 'answers.json'
  calls_file.write_text(json.dumps(calls))
  subprocess.run(
      [sys.executable, str(pathlib.Path(__file__).with_name('gpt_serve.py')),
       version_dir, calls_file, answers_file],
      # Nothing of the project can be imported from there.
      check=True, cwd=path, env={k: v for k, v in os.environ.items()
                                 if k != 'PYTHONPATH'})
  return json.loads(answers_file.read_text())


@pytest.fixture(scope='module')
def stop(run):
  """A token that does come, in every row that has it; others go on."""
  ids, _, _ = _greedy(run[0], TEXTS[0], 6)
  return next(index for index in ids if index != ids[0])


@pytest.fixture(scope='module')
def answers(run, stop, tmp_path_factory):
  ids = [[2, 5, 6, 7, 0, 0], [2, 8, 9, 10, 11, 12], [2, 0, 0, 0, 0, 0]]
  drawn = dict(text=TEXTS[:1] * 400, max_new_tokens=1, temperature=0.7,
               top_k=0, top_p=1.0, stop_token='')
  calls = {
      'logits': ['next_token_logits', {
          'input_word_ids': ids,
          'input_mask': [[int(i > 0) for i in row] for row in ids]}],
      'next': ['next_token', {'text': TEXTS}],
      'greedy': ['generate', {'text': TEXTS, **GREEDY}],
      'longest': ['generate', {'text': TEXTS, **GREEDY,
                               'max_new_tokens': 1000}],
      'stopped': ['generate', {'text': TEXTS, **GREEDY,
                               'stop_token': PIECES[stop]}],
      'drawn': ['generate', drawn],
      'top 2': ['generate', {**drawn, 'top_k': 2}],
      'top half': ['generate', {**drawn, 'top_p': 0.5}],
  }
  return dict(zip(calls, _ask(
      run[1], list(calls.values()), tmp_path_factory.mktemp('calls'))))


def test_logits_of_ids_are_numpy_s(answers, run):
  for row, ids in zip(answers['logits']['logits'],
                      ([2, 5, 6, 7], [2, 8, 9, 10, 11, 12], [2])):
    np.testing.assert_allclose(
        row, numpy_gpt.logits(run[0], gpt_run.TARGET, np.array(ids))[-1],
        atol=1e-4)


def test_next_tokens_are_numpy_s(answers, run):
  served = answers['next']
  for row, text in enumerate(TEXTS):
    ids = _prompt(text, LENGTH)
    logits = numpy_gpt.logits(run[0], gpt_run.TARGET, np.array(ids))[-1]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    best = np.argsort(-probabilities)[:5]
    assert served['tokens'][row] == [PIECES[i] for i in best]
    np.testing.assert_allclose(
        served['probabilities'][row], probabilities[best], atol=1e-5)
  assert served['num_tokens_left_out'] == [0, 0, 0, 40 + 1 - LENGTH, 0]


@pytest.mark.parametrize('name, max_new_tokens', [
    ('greedy', 6), ('longest', LENGTH - 1)])
def test_the_likeliest_text_is_numpy_s(answers, run, name, max_new_tokens):
  served = answers[name]
  for row, text in enumerate(TEXTS):
    ids, is_finished, total = _greedy(run[0], text, max_new_tokens)
    assert served['continuation'][row] == _joined(ids)
    assert served['text'][row] == text + _joined(ids)
    assert served['num_new_tokens'][row] == len(ids)
    assert served['is_finished'][row] == is_finished
    assert served['log_probability'][row] == pytest.approx(total, abs=1e-4)
  assert served['num_tokens_left_out'][3] == 40 + 1 - (LENGTH - max_new_tokens)


def test_a_stop_token_ends_the_text(answers, run, stop):
  served = answers['stopped']
  for row, text in enumerate(TEXTS):
    expected, is_finished, total = _greedy(run[0], text, 6, stop)
    assert served['continuation'][row] == _joined(expected)
    assert served['is_finished'][row] == is_finished
    assert served['log_probability'][row] == pytest.approx(total, abs=1e-4)
  assert served['is_finished'][0] and served['num_new_tokens'][0] < 6


def test_draws_follow_the_probabilities(answers, run):
  """400 draws of one token, by every way to draw."""
  log_probabilities = _log_probabilities(run[0], _prompt(TEXTS[0], LENGTH))
  tempered = np.exp(log_probabilities / 0.7)
  tempered /= tempered.sum()
  order = np.argsort(-tempered)
  cumulative = np.cumsum(tempered[order])
  allowed = {
      'drawn': order,
      'top 2': order[:2],
      'top half': order[:1 + int((cumulative <= 0.5).sum())],
  }
  for name, tokens in allowed.items():
    expected = np.zeros(len(PIECES))
    expected[tokens] = tempered[tokens] / tempered[tokens].sum()
    drawn = answers[name]['continuation']
    for token in range(len(PIECES)):
      text = '' if token == SEP else _joined([token])
      share = sum(answer == text for answer in drawn) / len(drawn)
      spread = np.sqrt(expected[token] * (1 - expected[token]) / len(drawn))
      # Rare tokens spread further than a normal distribution: 3 draws more.
      slack = 3 / len(drawn) if expected[token] else 0
      assert abs(share - expected[token]) <= 4 * spread + slack, (
          name, PIECES[token])


def test_an_unknown_stop_token_is_refused(run):
  generate = tf.saved_model.load(run[1]).signatures['generate']
  with pytest.raises(tf.errors.InvalidArgumentError,
                     match='stop_token is no piece of the vocabulary'):
    generate(**{name: tf.constant(value) for name, value in {
        'text': TEXTS, **GREEDY, 'stop_token': 'xyz'}.items()})


def test_vocabulary_is_an_asset(run):
  assert (pathlib.Path(run[1]) / 'assets/vocab.txt').read_text().split(
      '\n')[:-1] == list(PIECES)
  assert os.listdir(pathlib.Path(run[1]) / 'assets') == ['vocab.txt']


def test_a_part_of_the_signatures(tmp_path):
  gpt_run.write_run(tmp_path, step=3)
  version_dir = export_saved_model(
      str(tmp_path), signatures=['generate'], allow_unfinished=True)
  assert list(tf.saved_model.load(version_dir).signatures) == ['generate']


@pytest.mark.parametrize('options, message', [
    (dict(signatures=['serving_default', 'generate']),
     'signatures are serving_default,generate; of this model (gpt) give one or '
     'more of '
     'next_token_logits,next_token,generate.'),
    (dict(signatures=[]),
     'signatures are none; of this model (gpt) give one or more of '
     'next_token_logits,next_token,generate.'),
    (dict(max_masks=3),
     'max_masks is 3, but this model (gpt) fills no masks; leave it out.'),
    (dict(top_k=21), 'top_k is 21; give 1 to 20.'),
])
def test_refusals(tmp_path, options, message):
  gpt_run.write_run(tmp_path)
  with pytest.raises(ValueError) as error:
    export_saved_model(str(tmp_path), **options)
  assert str(error.value) == message


def test_command_continues_a_text(run, tmp_path):
  model_dir = pathlib.Path(run[1]).parents[1]
  finished = run_command(
      tmp_path, 'official_ext.export_model', f'--model_dir={model_dir}',
      f'--output_dir={model_dir}/tried', '--signatures=generate',
      '--try=The function returns')
  assert finished.returncode == 0, finished.stderr
  lines = finished.stdout.splitlines()
  assert lines[0] == f'SavedModel: {model_dir}/tried/1'
  assert lines[2] == 'The function returns'
  ids, is_finished, _ = _greedy(run[0], TEXTS[0], LENGTH - 1)
  end = '∎' if is_finished else '…'
  assert lines[3] == f'  likeliest …{_joined(ids)} {end}'
  assert lines[4].startswith('  drawn     …')
