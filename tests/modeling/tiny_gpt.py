"""Tiny GPT architectures and batches of causal features."""

import numpy as np
import tensorflow as tf

from official_ext.growth.architecture import Architecture
from official_ext.modeling import GrowingGptPretrainer
from official_ext.modeling import weights

PLAIN = Architecture(
    family='gpt', num_layers=2, hidden_size=8, num_heads=2, inner_size=16,
    vocab_size=50, max_positions=16)
SHARED = PLAIN.replace(ffn_sharing=4)
# For what does not depend on the depth: tracing is most of a test's time.
SHALLOW = PLAIN.replace(num_layers=1)
SHALLOW_SHARED = SHARED.replace(num_layers=1)
# Far from uniform predictions, so that differences would show.
VIVID = dict(initializer_stddev=0.3)
NO_DROPOUT = dict(output_dropout=0.0, attention_dropout=0.0)


def features(batch=4, *, seed=0, lengths=None, sequence=16, vocab=50):
  """A batch; row i has lengths[i] tokens."""
  random = np.random.default_rng(seed)
  ids = np.zeros((batch, sequence), np.int32)
  for row, length in enumerate(lengths or [sequence] * batch):
    ids[row, :length] = random.integers(1, vocab, length)
  return {'input_word_ids': tf.constant(ids),
          'input_mask': tf.constant((ids > 0).astype(np.int32))}


def pretrainer(architecture=PLAIN, **options):
  """A GPT with no weight as it started.

  Biases start at 0 and gammas at 1, which would hide them; key biases, whose
  gradient is rounding, would show nothing else.
  """
  model = GrowingGptPretrainer(architecture, **{**VIVID, **options})
  random = np.random.default_rng(3)
  weights.write_weights(model, {
      name: value + 0.2 * random.normal(size=value.shape)
      for name, value in weights.read_weights(model).items()})
  return model
