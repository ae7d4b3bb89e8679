"""The treated encoder, and its likeness to the stock one."""

import numpy as np
from official.nlp.modeling import networks
import pytest
import tensorflow as tf

from official_ext import modeling
from tests.modeling import tiny_bert


def _encoder(architecture, **kwargs):
  encoder = modeling.GrowingBertEncoder.from_architecture(
      architecture, **kwargs)
  encoder(tiny_bert.features())
  return encoder


def test_untreated_equals_stock_encoder():
  encoder = _encoder(tiny_bert.PLAIN)
  config = encoder.get_config()
  for ours in ('query_pool_size', 'query_pool_type', 'ffn_sharing', 'ffn_rank',
               'norm_epsilon', 'norm_source_size'):
    del config[ours]
  stock = networks.BertEncoderV2(**config)
  batch = tiny_bert.features(lengths=[16, 9, 5, 12])
  stock(batch)
  assert len(stock.weights) == len(encoder.weights)
  for theirs, mine in zip(stock.weights, encoder.weights):
    assert theirs.name.split('/')[1:] == mine.name.split('/')[1:]
    theirs.assign(mine)
  expected, got = stock(batch), encoder(batch)
  assert set(expected) == set(got)
  for name in ('sequence_output', 'pooled_output'):
    np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize('pool_type', ['mean', 'max'])
def test_config_round_trip(pool_type):
  encoder = _encoder(tiny_bert.TREATED, query_pool_type=pool_type)
  again = modeling.GrowingBertEncoder.from_config(encoder.get_config())
  batch = tiny_bert.features()
  again(batch)
  again.set_weights(encoder.get_weights())
  assert again.get_config() == encoder.get_config()
  np.testing.assert_array_equal(
      again(batch)['sequence_output'], encoder(batch)['sequence_output'])


@pytest.mark.parametrize('trained_layers', [None, 1, 2])
@pytest.mark.parametrize('architecture', [
    tiny_bert.PLAIN, tiny_bert.TREATED, tiny_bert.PLAIN.replace(num_layers=1),
    tiny_bert.TREATED.replace(num_layers=1)])
def test_the_last_block_where_it_is_read_is_that_of_the_whole(
    architecture, trained_layers):
  if (trained_layers or 0) > architecture.num_layers:
    return
  encoder = _encoder(architecture)
  batch = tiny_bert.features(lengths=[16, 9, 5, 12], counts=[4, 2, 1, 0])
  results = []
  for predictions_only in (True, False):
    with tf.GradientTape() as tape:
      outputs = encoder(batch, trained_layers=trained_layers,
                        predictions_only=predictions_only)
      rows = outputs['sequence_output']
      if not predictions_only:
        positions = batch['masked_lm_positions']
        if architecture.query_pool_size > 1:
          first = rows.shape[1] - tiny_bert.PREDICTIONS
          positions = first + tf.zeros_like(positions) + tf.range(
              tiny_bert.PREDICTIONS, dtype=positions.dtype)
        rows = tf.concat(
            [rows[:, :1], tf.gather(rows, positions, batch_dims=1)], axis=1)
      assert rows.shape == (4, 1 + tiny_bert.PREDICTIONS, 8)
      is_real = tf.pad(batch['masked_lm_weights'], [[0, 0], [1, 0]],
                       constant_values=1.)[..., tf.newaxis]
      loss = tf.reduce_sum(is_real * rows * tf.sin(tf.range(8.))) + (
          tf.reduce_sum(outputs['pooled_output']))
    results.append((
        rows * is_real, tape.gradient(loss, encoder.trainable_variables)))
  (rows, gradients), (all_rows, all_gradients) = results
  np.testing.assert_allclose(rows, all_rows, rtol=0, atol=1e-6)
  for one, other in zip(gradients, all_gradients, strict=True):
    assert (one is None) == (other is None)
    if one is not None:
      np.testing.assert_allclose(
          tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=2e-5)


def test_sharing_stores_narrower_blocks():
  encoder = _encoder(tiny_bert.TREATED)
  shapes = {tuple(v.shape) for v in encoder.trainable_variables}
  assert (8, 4) in shapes and (8, 16) not in shapes
  assert encoder.get_config()['inner_dim'] == 16


def test_short_sequence_does_not_see_padding():
  encoder = _encoder(tiny_bert.TREATED)
  batch = tiny_bert.features(lengths=[16, 9, 5, 12], counts=[4, 2, 1, 0])
  got = encoder(batch)
  length = tiny_bert.TREATED.query_length(tiny_bert.PREDICTIONS)
  assert got['sequence_output'].shape == (4, length, 8)
  changed = dict(batch)
  changed['input_word_ids'] = np.where(
      batch['input_mask'], batch['input_word_ids'], 7)
  again = encoder(changed)
  # Row 1: [CLS], the 3 filled slots of 6 and the 2 predictions of 4.
  for name in ('sequence_output', 'pooled_output'):
    np.testing.assert_array_equal(again[name][0], got[name][0])
  for rows in (slice(0, 4), slice(7, 9)):
    np.testing.assert_allclose(
        again['sequence_output'][1, rows], got['sequence_output'][1, rows],
        atol=1e-6)
  np.testing.assert_allclose(
      again['pooled_output'], got['pooled_output'], atol=1e-6)


def test_slots_of_single_tokens_change_nothing_but_the_order():
  plain, pooled = _encoder(tiny_bert.PLAIN), _encoder(
      tiny_bert.PLAIN.replace(query_pool_size=2))
  pooled.set_weights(plain.get_weights())
  batch = tiny_bert.features(batch=1, lengths=[6], counts=[4])
  expected = plain(batch)['sequence_output'][0].numpy()
  got = pooled(batch)['sequence_output'][0].numpy()
  positions = batch['masked_lm_positions'][0].numpy()
  # [CLS] single, 4 masked single, 1 left: its slot is the token itself.
  single = [s for s in range(1, 6) if s not in positions]
  np.testing.assert_allclose(got[0], expected[0], atol=1e-6)
  np.testing.assert_allclose(got[1], expected[single[0]], atol=1e-6)
  np.testing.assert_allclose(got[-4:], expected[positions], atol=1e-6)


@pytest.mark.parametrize('arguments, message', [
    (dict(ffn_sharing=3, inner_dim=16),
     'inner_dim 16 is not a multiple of ffn_sharing 3; choose a divisor.'),
    (dict(query_pool_size=0),
     'query_pool_size is 0; give a whole number of at least 1.'),
    (dict(query_pool_type='sum'),
     "query_pool_type is 'sum'; choose one of mean, max."),
    (dict(query_pool_size=2, output_range=1),
     'query_pool_size 2 does not go with output_range; leave those out or do '
     'not pool.'),
])
def test_refusals(arguments, message):
  with pytest.raises(ValueError) as error:
    modeling.GrowingBertEncoder(50, **arguments)
  assert str(error.value) == message


def test_an_architecture_that_model_garden_cannot_build():
  with pytest.raises(ValueError, match='head_size 3 with num_heads 2 does not '
                                       'make hidden_size 8.*leave head_size'):
    _encoder(tiny_bert.PLAIN.replace(head_size=3))
