"""What can be exported: checkpoints of `grow` and `convert`, and what is missing."""

import os

import numpy as np
import pytest
import tensorflow as tf

from official_ext.export.saved_model import export_saved_model
from official_ext.export.served_model import load_served_model
from official_ext.export.serving_check import in_process
from official_ext.modeling import weights
from official_ext.modeling.checkpoint_weights import write_model
from official_ext.modeling.family import build_pretrainer
from tests.export import tiny_run

TEXTS = ['The function', 'a list of values ' * 9, '']


def _write(path, *, has_head):
  """As `grow` and `convert` write a model."""
  vocabulary_file = path / 'pieces.txt'
  vocabulary_file.write_text('\n'.join(tiny_run.PIECES) + '\n')
  model = build_pretrainer(
      tiny_run.TARGET, use_next_sentence=False, initializer_stddev=0.3)
  arrays = {name: array for name, array in weights.read_weights(model).items()
            if has_head or not name.startswith('masked_lm/')}
  write_model(str(path / 'model'), arrays, tiny_run.TARGET,
              vocab_file=str(vocabulary_file))
  return str(path / 'model')


def test_an_encoder_without_heads(tmp_path):
  path = _write(tmp_path, has_head=False)
  served = load_served_model(path)
  assert (served.kind, served.max_masks) == ('encoder', None)
  version = export_saved_model(path, signatures=['serving_default'])
  model = tf.saved_model.load(version)
  outputs = model.signatures['serving_default'](text=tf.constant(TEXTS))
  expected = in_process.in_process_answers(
      served, [{'text': text} for text in TEXTS])
  np.testing.assert_allclose(outputs['pooled_output'], expected, atol=1e-5)
  assert outputs['sequence_output'].shape == (3, 16, 16)
  # No weights of a head that there is not.
  names = [name for name, _ in tf.train.list_variables(
      os.path.join(version, 'variables', 'variables'))]
  assert not any('masked_lm' in name for name in names)
  with pytest.raises(ValueError, match='encoder.*serving_default,embed,'):
    export_saved_model(path, signatures=['token_ids'])
  with pytest.raises(ValueError, match=r'\(encoder\) fills no masks'):
    export_saved_model(path, max_masks=2)


def test_a_head_makes_it_fill_masks(tmp_path):
  served = load_served_model(_write(tmp_path, has_head=True))
  # 15 % of 16 tokens.
  assert (served.kind, served.max_masks) == ('bert', 2)


def test_without_a_vocabulary(tmp_path):
  path = _write(tmp_path, has_head=True)
  os.remove(os.path.join(path, 'vocab.txt'))
  with pytest.raises(ValueError) as error:
    load_served_model(path)
  assert str(error.value) == (
      f"{path} has no vocab.txt; put the model's own beside the checkpoint.")
