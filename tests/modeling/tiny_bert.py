"""Tiny architectures and batches of Model Garden's pre-training features."""

import numpy as np
import tensorflow as tf

from official.modeling.optimization import legacy_adamw
from official_ext.growth.architecture import Architecture

PLAIN = Architecture(
    num_layers=2, hidden_size=8, num_heads=2, inner_size=16, vocab_size=50,
    max_positions=16)
TREATED = PLAIN.replace(ffn_sharing=4, query_pool_size=2)
# For what does not depend on the depth: tracing is most of a test's time.
SHALLOW = PLAIN.replace(num_layers=1)
SHALLOW_TREATED = TREATED.replace(num_layers=1)
NO_DROPOUT = dict(output_dropout=0.0, attention_dropout=0.0)
PREDICTIONS = 4


def features(batch=4, *, seed=0, lengths=None, counts=None, sequence=16,
             vocab=50):
  """A batch; row i has lengths[i] tokens, of which counts[i] are masked."""
  random = np.random.default_rng(seed)
  lengths = lengths or [sequence] * batch
  counts = counts or [PREDICTIONS] * batch
  result = dict(
      input_word_ids=np.zeros((batch, sequence), np.int64),
      input_mask=np.zeros((batch, sequence), np.int64),
      input_type_ids=np.zeros((batch, sequence), np.int64),
      masked_lm_positions=np.zeros((batch, PREDICTIONS), np.int64),
      masked_lm_ids=np.zeros((batch, PREDICTIONS), np.int64),
      masked_lm_weights=np.zeros((batch, PREDICTIONS), np.float32),
      next_sentence_labels=random.integers(0, 2, (batch, 1)))
  for row, (length, count) in enumerate(zip(lengths, counts)):
    result['input_word_ids'][row, :length] = random.integers(1, vocab, length)
    result['input_mask'][row, :length] = 1
    result['input_type_ids'][row, length // 2:length] = 1
    result['masked_lm_positions'][row, :count] = np.sort(
        random.choice(np.arange(1, length), count, replace=False))
    result['masked_lm_ids'][row, :count] = random.integers(1, vocab, count)
    result['masked_lm_weights'][row, :count] = 1
  return {name: tf.constant(value) for name, value in result.items()}


def adamw(learning_rate=1e-2):
  return legacy_adamw.AdamWeightDecay(
      learning_rate, weight_decay_rate=0.01, epsilon=1e-6,
      exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'])


def inputs(batch):
  """What a stock model is called with."""
  return {name: batch[name] for name in (
      'input_word_ids', 'input_mask', 'input_type_ids', 'masked_lm_positions')}
