"""SavedModels of fine-tuned models, against Keras and Model Garden's own code."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf, tf_keras
from tensorflow_serving.apis import prediction_log_pb2

from official_ext.data.tokenizer import build_tokenizer
from official_ext.downstream import squad_answers
from official_ext.downstream import squad_features
from official_ext.downstream.packed_examples import PackedExamples
from official_ext.export.saved_model import export_saved_model
from official_ext.export.served_model import load_served_model
from official_ext.export.serving_check import in_process
from official_ext.export.serving_check.mixed_texts import mixed_texts
from official_ext.export.trial import try_texts
from official.nlp.data import squad_lib
from tests.export import tiny_finetuned
from tests.export import tiny_run

TEXTS = ['the function', '', 'a list of values. ' * 5, 'CAFÉ 中 🙂',
         *mixed_texts(12, longest=30)]
SECOND_TEXTS = [*TEXTS[1:], 'the function returns a list ' * 6]
# With blanks of every kind, accents, signs within words, and windows on end.
CONTEXTS = [
    'The function returns a list of values.',
    '(The) Café,a [list]  of\tvalues,the\nfunction. ' * 4,
    'la liste « café » of ﬁne values of the function returns ' * 3,
    'a', '中a的list', 'values' * 3 + ' of the list',
]
QUESTIONS = ['The function?', 'a list of values of a list', '', 'Café', 'of',
             'returns the']


@pytest.fixture(name='exported', scope='module')
def _exported(tmp_path_factory):
  """Task to directory and version, of all tasks."""
  found = {}
  for name in tiny_finetuned.TASKS:
    path = tmp_path_factory.mktemp(name)
    tf_keras.utils.set_random_seed(3)
    tiny_finetuned.write_finetuned(path, name)
    found[name] = str(path), export_saved_model(str(path))
  return found


@pytest.fixture(name='signatures', scope='module')
def _signatures(exported):
  """Signatures of a task's SavedModel, which is loaded once."""
  loaded = {}

  def signatures(name):
    if name not in loaded:
      loaded[name] = tf.saved_model.load(exported[name][1])
    return loaded[name].signatures

  return signatures


def test_pairs_are_classified_as_in_keras(exported, signatures):
  outputs = signatures('pairs')['serving_default'](
      text=tf.constant(TEXTS), second_text=tf.constant(SECOND_TEXTS))
  expected = in_process.in_process_answers(
      load_served_model(exported['pairs'][0]),
      [dict(text=text, second_text=second)
       for text, second in zip(TEXTS, SECOND_TEXTS)])
  assert np.ptp(expected, axis=0).min() > 0.01
  np.testing.assert_allclose(outputs['probabilities'], expected, atol=1e-5)
  names = [b'no', b'yes', b'perhaps']
  assert outputs['labels'].numpy().tolist() == [names] * len(TEXTS)
  assert outputs['label'].numpy().tolist() == [
      names[best] for best in expected.argmax(axis=1)]
  tokenizer = build_tokenizer(tiny_run.PIECES)
  sizes = [len(first) + len(second) + 3 for first, second in zip(
      tokenizer(TEXTS).to_list(), tokenizer(SECOND_TEXTS).to_list())]
  assert outputs['num_tokens_left_out'].numpy().tolist() == [
      max(0, size - tiny_finetuned.SEQ_LENGTH) for size in sizes]


@pytest.mark.slow
def test_padding_to_buckets_changes_nothing(exported, tmp_path):
  path, version = exported['score']
  padded = export_saved_model(path, str(tmp_path), padding='buckets')
  scores = [tf.saved_model.load(each).signatures['serving_default'](
      text=tf.constant(TEXTS))['score'] for each in (version, padded)]
  expected = in_process.in_process_answers(
      load_served_model(path), [dict(text=text) for text in TEXTS])
  for each in scores:
    np.testing.assert_allclose(each, expected, atol=1e-5)


def test_ids_alone_need_no_ops_of_tf_text(exported, signatures, tmp_path):
  path, _ = exported['score']
  version = export_saved_model(path, str(tmp_path), signatures=['token_ids'])
  script = (
      'import sys, tensorflow as tf\n'
      f'signature = tf.saved_model.load({version!r}).signatures["token_ids"]\n'
      'ids = tf.constant([[2, 5, 6, 3, 0]])\n'
      'print(float(signature(input_word_ids=ids, input_type_ids=0 * ids,\n'
      '    input_mask=tf.cast(ids > 0, tf.int32))["score"][0]))\n'
      'assert "tensorflow_text" not in sys.modules')
  finished = subprocess.run([sys.executable, '-P', '-c', script], check=True,
                            capture_output=True, text=True)
  signature = signatures('score')['serving_default']
  assert float(finished.stdout) == pytest.approx(
      float(signature(text=tf.constant(['the function']))['score'][0]), abs=1e-5)


def test_answers_are_squad_lib_s(exported, signatures, tmp_path):
  """Windows, candidates and texts, by Model Garden's own evaluation."""
  path, _ = exported['answers']
  task = tiny_finetuned.TASKS['answers']
  served = load_served_model(path)
  file = tmp_path / 'dev.json'
  file.write_text(json.dumps({'data': [{'title': '', 'paragraphs': [
      {'context': context, 'qas': [
          {'id': str(row), 'question': question, 'answers': [],
           'is_impossible': True}]}
      for row, (context, question) in enumerate(zip(CONTEXTS, QUESTIONS))]}]}))
  examples = squad_lib.read_squad_examples(
      str(file), is_training=False, version_2_with_negative=True)
  tokenizer = build_tokenizer(tiny_run.PIECES)
  packed, features = squad_features.pack_windows(
      examples, tokenizer, seq_length=task.seq_length,
      doc_stride=task.doc_stride, max_query_length=task.max_query_length,
      is_training=False)
  assert packed.num_examples > 2 * len(CONTEXTS)
  answers = squad_answers.read_answers(
      examples, features, *_padded_logits(served.model, packed, task.seq_length),
      n_best_size=task.n_best_size, max_answer_length=task.max_answer_length,
      lower_case=True, has_unanswerable=True)

  signature = signatures('answers')['serving_default']
  outputs = {name: value.numpy() for name, value in signature(
      question=tf.constant(QUESTIONS), context=tf.constant(CONTEXTS)).items()}
  answered = answers.above(task.null_score_threshold)
  assert 0 < sum(map(bool, answered.values())) < len(CONTEXTS)
  for row, context in enumerate(CONTEXTS):
    answer = outputs['answer'][row].decode()
    # squad_lib puts a space for whatever blanks there are between words.
    words = ' '.join(answer.split())
    if set('ﬁ中的') & set(answers.texts[str(row)]):
      # It gives whole words where pieces are unknown, or longer or shorter than
      # the text.
      assert words in answered[str(row)], row
    else:
      assert words == answered[str(row)], row
    assert outputs['null_odds'][row] == pytest.approx(
        answers.null_odds[str(row)], abs=1e-4)
    start, end = outputs['start'][row], outputs['end'][row]
    assert bool(answer) == outputs['is_answered'][row] == (start >= 0)
    if answer:
      assert context[start:end] == answer
  assert not outputs['num_tokens_left_out'].any()


def _padded_logits(model, packed: PackedExamples, length):
  rows = np.split(packed.words, packed.row_splits[1:-1])
  types = np.split(packed.types, packed.row_splits[1:-1])
  pad = lambda row: np.pad(row, (0, length - len(row)))
  outputs = model({
      'input_word_ids': np.stack([pad(row) for row in rows]),
      'input_mask': np.stack([pad(np.ones_like(row)) for row in rows]),
      'input_type_ids': np.stack([pad(row) for row in types])}, training=False)
  return [output.numpy() for output in outputs]


def test_a_short_question_has_the_same_answer_alone_and_beside_long_ones(
    signatures):
  """Alone its window has fewer tokens than there are candidates."""
  question, context = 'of', 'a list'
  assert 3 + 1 + 2 < tiny_finetuned.TASKS['answers'].n_best_size
  signature = signatures('answers')['serving_default']
  alone = signature(question=tf.constant([question]),
                    context=tf.constant([context]))
  beside = signature(question=tf.constant([question, QUESTIONS[1]]),
                     context=tf.constant([context, CONTEXTS[1]]))
  for name, value in alone.items():
    if value.dtype == tf.float32:
      np.testing.assert_allclose(value[0], beside[name][0], atol=1e-5)
    else:
      assert value[0] == beside[name][0], name


def test_contexts_of_nothing_and_of_too_much(signatures):
  signature = signatures('answers')['serving_default']
  outputs = signature(
      question=tf.constant(['a', 'a', 'a']),
      context=tf.constant(['', b'\xff\x00 \xe4', 'of the list ' * 200]))
  assert outputs['is_answered'].numpy()[0] == 0
  assert outputs['answer'].numpy()[0] == b''
  assert outputs['start'].numpy()[0] == -1
  assert np.isfinite(outputs['null_odds']).all()
  # 32 windows of 12 pieces, one every 4.
  assert outputs['num_tokens_left_out'].numpy().tolist() == [
      0, 0, 600 - (31 * 4 + 12)]


@pytest.mark.parametrize('name', [
    pytest.param('pairs', marks=pytest.mark.slow),
    pytest.param('score', marks=pytest.mark.slow), 'answers'])
def test_examples_of_the_readme_run_as_written(exported, signatures, name):
  version = exported[name][1]
  with open(os.path.join(version, 'README.md'), encoding='utf-8') as file:
    readme = file.read()
  own = signatures(name)
  assert re.findall('\n## (.*)\n', readme) == [*own, 'Ops']
  for code in re.findall('```python\n(.*?)```', readme, re.DOTALL):
    exec(code.replace("load('.')", f'load({version!r})'), {})  # pylint: disable=exec-used
  for body in re.findall("-d '(.*)'\n", readme):
    request = json.loads(body.replace("'\\''", "'"))
    signature = own[request['signature_name']]
    specs = signature.structured_input_signature[1]
    assert request['inputs'].keys() == specs.keys()
  listed = set(re.findall(r'\w+', readme.split('## Ops')[1]))
  ran = {op.type for signature in own.values()
         for op in signature.graph.get_operations()}
  # What signatures call is named by what it calls.
  assert ran - {'PartitionedCall', 'StatefulPartitionedCall'} <= listed
  assert {'RegexSplitWithOffsets', 'MatMul', 'WordpieceTokenizeWithOffsets',
          'LookupTableFindV2', 'ReadVariableOp'} <= listed
  assert not any(op.startswith('Fast') for op in listed)


def test_warm_up_requests_run(exported, signatures):
  _, version = exported['answers']
  own = signatures('answers')
  called = []
  for record in tf.data.TFRecordDataset(os.path.join(
      version, 'assets.extra', 'tf_serving_warmup_requests')):
    request = prediction_log_pb2.PredictionLog.FromString(
        record.numpy()).predict_log.request
    signature = request.model_spec.signature_name
    own[signature](**{
        name: tf.constant(tf.make_ndarray(value))
        for name, value in request.inputs.items()})
    called.append(signature)
  assert set(called) == set(own)


def test_assets_and_versions(exported):
  path, version = exported['score']
  with open(os.path.join(version, 'assets/vocab.txt'), encoding='utf-8') as file:
    assert file.read().split() == list(tiny_run.PIECES)
  assert os.listdir(os.path.join(version, 'assets')) == ['vocab.txt']
  before = os.stat(os.path.join(version, 'saved_model.pb')).st_mtime_ns
  assert export_saved_model(path, signatures=['token_ids']).endswith('/2')
  assert os.stat(os.path.join(version, 'saved_model.pb')).st_mtime_ns == before


def test_trying_texts(exported):
  lines = try_texts(exported['pairs'][1], ['the list ||| a function'])
  assert sorted(line.split()[0] for line in lines.splitlines()[1:]) == [
      'no', 'perhaps', 'yes']
  assert 'characters' in try_texts(
      exported['answers'][1], [f'{QUESTIONS[0]} ||| {CONTEXTS[0]}'])
  float(try_texts(exported['score'][1], ['a list']).splitlines()[1])
  with pytest.raises(ValueError) as error:
    try_texts(exported['pairs'][1], ['alone'])
  assert str(error.value) == (
      "--try is 'alone'; this model takes 'text ||| second_text'.")
