"""Copies separate in training if there is noise, and only then."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext import growth
from official_ext import modeling
from official_ext.modeling import weights
from tests.modeling import tiny_bert

_SMALL = tiny_bert.PLAIN
_LARGE = _SMALL.replace(hidden_size=16, num_heads=4, inner_size=32)
# Weights with units of one group and no in-axis. Growth leaves the copies there
# equal, with or without noise, so that a difference was learned.
_PRODUCED = {
    'residual': ('embeddings/word', 'embeddings/position',
                 'layer_0/attention/output/bias', 'layer_1/ffn/output/bias'),
    'head': ('layer_0/attention/query/bias', 'layer_1/attention/query/bias',
             'layer_0/attention/value/bias', 'layer_1/attention/value/bias'),
    'inner': ('layer_0/ffn/inner/bias', 'layer_1/ffn/inner/bias'),
}


def _distance(name, array):
  """Of the two copies, relative to the spread of the weight."""
  axis = 0 if '/attention/query' in name or '/attention/value' in name else -1
  first, second = np.split(array.astype(np.float64), 2, axis=axis)
  return np.abs(first - second).max() / (array.std() or 1)


@pytest.mark.parametrize('group', _PRODUCED)
def test_copies_separate_with_the_default_noise_only(group, trained):
  for name in _PRODUCED[group]:
    for before, _ in trained.values():
      assert _distance(name, before[name]) == 0, name
    assert _distance(name, trained['default'][1][name]) > 0.01, name
    assert _distance(name, trained['none'][1][name]) < 1e-6, name


@pytest.fixture(name='trained', scope='module')
def _trained():
  """Weights before and after training, with the default noise and without."""
  small = modeling.GrowingBertPretrainer(_SMALL)
  found = {}
  for noise, options in (('default', {}), ('none', dict(noise_scale=0.0))):
    large = modeling.GrowingBertPretrainer(_LARGE, **tiny_bert.NO_DROPOUT)
    weights.write_weights(large, growth.grow(
        weights.read_weights(small), _SMALL, _LARGE, **options))
    large.compile(optimizer=tiny_bert.adamw(1e-3))
    before = weights.read_weights(large)
    large.fit(tf.data.Dataset.from_tensors(tiny_bert.features()).repeat(30),
              verbose=0)
    found[noise] = before, weights.read_weights(large)
  return found
