"""LayerNorms that keep the statistics of a narrower model."""

import numpy as np
import pytest
import tensorflow as tf, tf_keras

from official_ext import growth
from official_ext import modeling
from official_ext.modeling import weighted_norm
from official_ext.modeling import weights
from tests.modeling import tiny_bert

_SMALL = tiny_bert.PLAIN.replace(
    hidden_size=16, num_heads=4, vocab_size=50)
_WIDE = _SMALL.replace(
    hidden_size=24, num_heads=6, inner_size=24, norm_source_size=16)


def _normalised(x, unit_weights, gamma, beta, epsilon):
  """By the definition, unit by unit."""
  mean = sum(w * x[..., j] for j, w in enumerate(unit_weights))[..., None]
  variance = sum(w * (x[..., j] - mean[..., 0]) ** 2
                 for j, w in enumerate(unit_weights))[..., None]
  return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def _randomised(layer, random):
  for variable in (layer.gamma, layer.beta):
    variable.assign(random.normal(size=variable.shape))
  return layer


@pytest.mark.parametrize('share', [0, 0.25, 1])
def test_equals_the_definition(share):
  # 5 units from 3: units 0 and 1 have two copies, unit 2 has one.
  source = np.array([1 / 6, 1 / 6, 1 / 3, 1 / 6, 1 / 6])
  annealing = weighted_norm.NormAnnealing()
  annealing.num_steps.assign(100)
  annealing.step.assign(int(100 * share))
  layer = weighted_norm.WeightedLayerNormalization(
      3, annealing, epsilon=1e-3, dtype='float64')
  random = np.random.default_rng(0)
  x = random.normal(size=(4, 7, 5)) * 3 + 1
  layer(x)
  _randomised(layer, random)
  expected = _normalised(
      x, (1 - share) * source + share / 5, layer.gamma.numpy(),
      layer.beta.numpy(), 1e-3)
  np.testing.assert_allclose(layer(x), expected, rtol=0, atol=1e-12)
  if share == 1:
    ordinary = tf_keras.layers.LayerNormalization(epsilon=1e-3, dtype='float64')
    ordinary(x)
    ordinary.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(x), ordinary(x), rtol=0, atol=1e-12)


def test_annealing_is_linear_and_stops_at_one():
  annealing = weighted_norm.NormAnnealing()
  shares = []
  for _ in range(3):
    annealing.advance()
    shares.append(float(annealing.share(tf.float64)))
  assert shares == [0, 0, 0]  # No end has been set.
  annealing.num_steps.assign(5)
  for _ in range(4):
    shares.append(float(annealing.share(tf.float64)))
    annealing.advance()
  assert shares[3:] == pytest.approx([0.6, 0.8, 1.0, 1.0])
  assert shares[5] == 1


def test_a_narrower_input_is_refused():
  layer = weighted_norm.WeightedLayerNormalization(8)
  with pytest.raises(ValueError, match='source_size 8 and size 4; give a '
                                       'source_size from 1 to'):
    layer(np.zeros([1, 4]))


def test_config_and_width_in_mixed_precision():
  layer = weighted_norm.WeightedLayerNormalization(
      3, epsilon=1e-6, dtype='mixed_bfloat16', name='norm')
  again = weighted_norm.WeightedLayerNormalization.from_config(
      layer.get_config())
  assert again.get_config() == layer.get_config()
  assert again.source_size == 3 and again.epsilon == 1e-6
  x = tf.constant(np.random.default_rng(0).normal(size=(2, 5)), tf.bfloat16)
  got = again(x)
  assert got.dtype == tf.bfloat16 and again.gamma.dtype == tf.float32
  wide = weighted_norm.WeightedLayerNormalization(3, epsilon=1e-6)
  np.testing.assert_array_equal(
      got, tf.cast(wide(tf.cast(x, tf.float32)), tf.bfloat16))


def _grown():
  small = modeling.GrowingBertPretrainer(_SMALL)
  random = np.random.default_rng(1)
  # Large enough for wrong statistics to show.
  weights.write_weights(small, {
      name: random.normal(0, 0.5, value.shape).astype(np.float32)
      for name, value in weights.read_weights(small).items()})
  return small, growth.grow(
      weights.read_weights(small), _SMALL, _WIDE, noise_scale=0.0)


def test_growth_to_a_width_that_is_no_multiple_keeps_the_function():
  small, grown = _grown()
  batch = tiny_bert.features(lengths=[16, 9, 5, 12])
  expected = small(batch)
  errors = {}
  for source_size in (16, None):
    wide = modeling.GrowingBertPretrainer(
        _WIDE.replace(norm_source_size=source_size))
    weights.write_weights(wide, grown)
    got = wide(batch)
    errors[source_size] = max(
        np.abs(got[name] - expected[name]).max()
        for name in ('mlm_logits', 'next_sentence'))
    if source_size:
      np.testing.assert_allclose(
          got['sequence_output'],
          expected['sequence_output'].numpy()[..., np.arange(24) % 16],
          atol=2e-5)
  scale = np.abs(expected['mlm_logits']).max()
  assert errors[16] < 1e-5 * scale
  assert errors[None] > 1e-2 * scale


def test_annealed_model_is_a_stock_model_at_the_end(mirrored):
  _, grown = _grown()
  batch = tiny_bert.features()
  with mirrored.scope():
    model = modeling.GrowingBertPretrainer(_WIDE, **tiny_bert.NO_DROPOUT)
    model.compile(optimizer=tiny_bert.adamw(1e-3))
  weights.write_weights(model, grown)
  model.set_norm_annealing(4)
  stock = modeling.GrowingBertPretrainer(
      _WIDE.replace(norm_source_size=None))
  for step in range(1, 6):
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    share = float(model.norm_annealing.share(tf.float32))
    assert share == min(step / 4, 1)
    weights.write_weights(stock, weights.read_weights(model))
    error = np.abs(model(batch)['mlm_logits']
                   - stock(batch)['mlm_logits']).max()
    assert (error < 1e-5) == (step >= 4), step
  # Evaluation does not anneal.
  model.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0)
  assert int(model.norm_annealing.step.numpy()) == 5


def test_checkpoints_hold_the_annealing_and_the_next_stage_lacks_it(tmp_path):
  model = modeling.GrowingBertPretrainer(_WIDE)
  model.compile(optimizer=tiny_bert.adamw())
  model.set_norm_annealing(8)
  model.fit(tf.data.Dataset.from_tensors(tiny_bert.features()).repeat(2),
            verbose=0)
  path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(
      str(tmp_path / 'ckpt'))
  resumed = modeling.GrowingBertPretrainer(_WIDE)
  resumed.compile(optimizer=tiny_bert.adamw())
  tf.train.Checkpoint(model=resumed, optimizer=resumed.optimizer).restore(
      path).assert_existing_objects_matched()
  assert float(resumed.norm_annealing.share(tf.float32)) == 0.25
  # Variables are where a stock model looks for them.
  stock = modeling.GrowingBertPretrainer(_WIDE.replace(norm_source_size=None))
  tf.train.Checkpoint(model=stock, **stock.checkpoint_items).restore(
      path).assert_existing_objects_matched()
  for name, value in weights.read_weights(stock).items():
    np.testing.assert_array_equal(value, weights.read_weights(model)[name])
  model.replace_architecture(_WIDE.replace(norm_source_size=None))
  assert model.norm_annealing is None
  names = {type(layer) for layer in model.submodules}
  assert weighted_norm.WeightedLayerNormalization not in names
  with pytest.raises(ValueError, match='set_norm_annealing.*norm_source_size '
                                       'is None'):
    model.set_norm_annealing(3)
