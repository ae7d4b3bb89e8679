"""The SavedModel in a process of its own, against the model in this one."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data.tokenizer import build_tokenizer
from official_ext.export.filled_masks import filled_masks_table
from official_ext.export.saved_model import export_saved_model
from official_ext.export.serving_module import ServingModule
from official_ext.modeling import weights
from tests.export import tiny_run

TEXTS = [
    'The function returns a [MASK].',
    '',
    '[MASK] [MASK][MASK] of [MASK]',            # four; three are filled
    'values, [mask] and CAFÉ [MASK]',
    'a ' * 40 + '[MASK]',                        # cut off
    '\u0001\u4e2d🙂 [MASK] \n\t list',
]
LENGTH = tiny_run.TARGET.sequence_length


def _encode_by_hand(text):
  """Ids [length] and mask positions, without any of the export's code."""
  tokenizer = build_tokenizer(tiny_run.PIECES, lower_case=True)
  ids = []
  for index, part in enumerate(text.split('[MASK]')):
    if index:
      ids.append(tiny_run.PIECES.index('[MASK]'))
    ids += tokenizer([part]).to_list()[0]
  ids = [2, *ids[:LENGTH - 2], 3]
  positions = [i for i, piece in enumerate(ids) if piece == 4]
  return ids, positions


def _inputs(texts):
  rows = [_encode_by_hand(text) for text in texts]
  pad = lambda row, size: (list(row) + [0] * size)[:size]
  return {
      'input_word_ids': [pad(ids, LENGTH) for ids, _ in rows],
      'input_mask': [pad([1] * len(ids), LENGTH) for ids, _ in rows],
      'input_type_ids': [[0] * LENGTH for _ in rows],
      'masked_lm_positions': [
          pad(positions, tiny_run.NUM_PREDICTIONS) for _, positions in rows],
  }


@pytest.fixture(scope='module')
def served(tmp_path_factory):
  path = tmp_path_factory.mktemp('run')
  model = tiny_run.write_run(path)
  version_dir = export_saved_model(str(path))
  texts_file, ids_file = path / 'texts.json', path / 'ids.json'
  outputs_file = path / 'outputs.npz'
  texts_file.write_text(json.dumps(TEXTS))
  inputs = _inputs(TEXTS)
  # Any length and any number of predictions are served.
  shorter = {name: [row[:12] for row in rows] for name, rows in inputs.items()}
  ids_file.write_text(json.dumps(shorter))
  subprocess.run(
      [sys.executable, str(pathlib.Path(__file__).with_name('serve.py')),
       version_dir, texts_file, ids_file, outputs_file],
      # Nothing of the project can be imported from there.
      check=True, cwd=path, env={k: v for k, v in os.environ.items()
                                 if k != 'PYTHONPATH'})
  tensors = {name: tf.constant(rows) for name, rows in inputs.items()}
  outputs = model(tensors, training=False)
  shorter = model({name: tf.constant(rows) for name, rows in shorter.items()},
                  training=False)
  return (dict(np.load(outputs_file)), model, outputs, shorter, version_dir,
          inputs)


def test_fillings_are_the_model_s(served):
  answers, _, outputs, _, _, inputs = served
  probabilities = tf.nn.softmax(outputs['mlm_logits']).numpy()
  counts = answers['serving_default/num_masks']
  assert counts.tolist() == [1, 0, 3, 1, 0, 1]
  assert answers['serving_default/num_masks_left_out'].tolist() == [
      0, 0, 1, 0, 1, 0]
  assert answers['serving_default/tokens'].shape == (6, 3, 5)
  for row, count in enumerate(counts):
    for mask in range(3):
      served_row = answers['serving_default/probabilities'][row, mask]
      tokens = answers['serving_default/tokens'][row, mask]
      if mask >= count:
        assert not served_row.any() and set(tokens) == {b''}
        continue
      best = np.argsort(-probabilities[row, mask], kind='stable')[:5]
      np.testing.assert_allclose(
          served_row, probabilities[row, mask, best], atol=1e-5)
      assert [t.decode() for t in tokens] == [tiny_run.PIECES[i] for i in best]
  assert inputs['input_word_ids'][4].count(4) == 0


def test_logits_of_ids_are_the_model_s_at_any_length(served):
  answers, _, _, shorter, _, _ = served
  np.testing.assert_allclose(
      answers['token_ids/mlm_logits'], shorter['mlm_logits'], atol=1e-5)


def test_embeddings_are_the_model_s(served):
  answers, model, outputs, _, _, inputs = served
  np.testing.assert_array_equal(
      answers['embed/input_mask'], inputs['input_mask'])
  is_token = np.array(inputs['input_mask'])[..., np.newaxis]
  np.testing.assert_allclose(
      answers['embed/sequence_output'], is_token * outputs['sequence_output'],
      atol=1e-5)
  arrays = weights.read_weights(model)
  first = outputs['sequence_output'][:, 0].numpy()
  np.testing.assert_allclose(
      answers['embed/pooled_output'],
      np.tanh(first @ arrays['next_sentence/dense/kernel']
              + arrays['next_sentence/dense/bias']), atol=1e-5)


def test_vocabulary_is_an_asset(served):
  version_dir = served[4]
  assert (pathlib.Path(version_dir) / 'assets/vocab.txt').read_text().split(
      '\n')[:-1] == list(tiny_run.PIECES)


def test_table_of_fillings(served):
  lines = filled_masks_table(
      served[4], [TEXTS[0], TEXTS[1], TEXTS[2]]).splitlines()
  assert lines[0] == TEXTS[0]
  assert '%' in lines[1] and lines[1].split()[0] in tiny_run.PIECES
  assert '  no [MASK] in it' in lines
  assert '  [MASK] 3' in lines
  assert lines[-1] == '  1 more [MASK] left out: too many, or too far back'


def test_versions_are_numbered_and_half_written_ones_swept(tmp_path):
  tiny_run.write_run(tmp_path)
  output_dir = tmp_path / 'served'
  (output_dir / '7').mkdir(parents=True)
  (output_dir / '8.partial').mkdir()
  version_dir = export_saved_model(
      str(tmp_path), str(output_dir), signatures=['token_ids'])
  assert version_dir == str(output_dir / '8')
  assert sorted(os.listdir(output_dir)) == ['7', '8']
  loaded = tf.saved_model.load(version_dir)
  assert list(loaded.signatures) == ['token_ids']


def test_without_next_sentence_the_mean_is_pooled(tmp_path):
  model = tiny_run.write_run(tmp_path, use_next_sentence=False)
  module = ServingModule(
      model, tiny_run.TARGET, str(tmp_path / 'vocab.txt'), lower_case=True,
      max_masks=tiny_run.NUM_PREDICTIONS)
  inputs = _inputs(TEXTS[:1])
  num_tokens = sum(inputs['input_mask'][0])
  sequence = model({name: tf.constant(rows) for name, rows in inputs.items()},
                   training=False)['sequence_output'].numpy()
  np.testing.assert_allclose(
      module.functions['embed'](tf.constant(TEXTS[:1]))['pooled_output'][0],
      sequence[0, :num_tokens].mean(axis=0), atol=1e-5)
