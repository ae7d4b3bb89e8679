"""A grown BERT follows the small one exactly, through real training."""

from official.modeling.optimization import legacy_adamw
import numpy as np
import pytest
import tensorflow as tf, tf_keras

from official_ext import growth
from official_ext import modeling
from official_ext.modeling import weights
from official_ext.training import exact_continuation
from tests.modeling import tiny_bert

# A block widens like any other: two of them where everything is exact, once.
_SMALL = tiny_bert.SHALLOW
_WIDER = dict(hidden_size=16, num_heads=4, inner_size=32)
_LEARNING_RATE = 1e-2


def _optimizer(epsilon=1e-6):
  return exact_continuation.ContinuingAdamWeightDecay(
      _LEARNING_RATE, weight_decay_rate=0.01, epsilon=epsilon,
      exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'])


def _pretrainer(architecture, optimizer):
  # Clipping by the global norm would see the copies.
  model = modeling.GrowingBertPretrainer(
      architecture, gradient_clip_norm=0, **tiny_bert.NO_DROPOUT)
  model.compile(optimizer=optimizer)
  weights.create_moments(optimizer, model)
  return model


def _trainer(model):
  """Trains on batches of given numbers; the loss of each before its step."""
  step = tf.function(model.train_step)

  def train(numbers):
    losses_before = []
    for number in numbers:
      batch = tiny_bert.features(
          seed=number, lengths=[16, 16, 9, 7], counts=[4, 4, 2, 1])
      batch['masked_lm_weights'] = tf.cast(
          batch['masked_lm_weights'], tf_keras.backend.floatx())
      model.reset_metrics()
      losses_before.append(float(step(batch)['loss']))
    return np.array(losses_before)

  return train


def _grown(small, epsilon=1e-6):
  """The large model with everything that the small one has."""
  source = small.architecture
  target = source.replace(**_WIDER)
  large = _pretrainer(target, _optimizer(epsilon))
  weights.write_weights(large, growth.grow(
      weights.read_weights(small), source, target, noise_scale=0.0))
  weights.write_moments(large.optimizer, large, *growth.grow_moments(
      *weights.read_moments(small.optimizer, small), source, target))
  large.optimizer.iterations.assign(small.optimizer.iterations)
  return large


def _scales(source=_SMALL):
  target = source.replace(**_WIDER)
  return exact_continuation.continuation_scales(
      growth.weight_specs(target), growth.maps_between(source, target))


# An epsilon of the size of the gradients shows whether it is scaled.
@pytest.mark.usefixtures('float64_losses')
@pytest.mark.parametrize('epsilon, num_layers', [(1e-6, 2), (1e-2, 1)])
def test_grown_model_follows_the_small_one_for_fifty_steps(epsilon, num_layers):
  source = _SMALL.replace(num_layers=num_layers)
  small = _pretrainer(source, _optimizer(epsilon))
  train_small = _trainer(small)
  train_small(range(10))
  large = _grown(small, epsilon)
  large.optimizer.set_scales(large, _scales(source))
  expected, got = train_small(range(10, 60)), _trainer(large)(range(10, 60))
  np.testing.assert_allclose(got, expected, rtol=1e-9)
  assert expected.std() > 1e-2  # It does train.
  batch = tiny_bert.features(seed=99)
  expected, got = small(batch), large(batch)
  for name in ('mlm_logits', 'next_sentence'):
    assert got[name].dtype == tf.float64
    scale = np.abs(expected[name]).max()
    np.testing.assert_allclose(got[name], expected[name], rtol=0,
                               atol=1e-9 * scale)
  np.testing.assert_allclose(
      got['sequence_output'],
      np.tile(expected['sequence_output'], 2), rtol=0, atol=1e-8)


@pytest.mark.usefixtures('float64_losses')
@pytest.mark.parametrize('left_out', ['step', 'epsilon'])
def test_without_either_scale_it_does_not_follow(left_out):
  epsilon = 1e-2
  small = _pretrainer(_SMALL, _optimizer(epsilon))
  train_small = _trainer(small)
  train_small(range(10))
  large = _grown(small, epsilon)
  large.optimizer.set_scales(large, {
      name: scales._replace(**{left_out: np.ones_like(getattr(scales, left_out))})
      for name, scales in _scales().items()})
  expected, got = train_small(range(10, 20)), _trainer(large)(range(10, 20))
  assert got[0] == pytest.approx(expected[0], rel=1e-9)
  assert np.abs(got[-1] - expected[-1]) > 1e-5


def test_without_scales_it_is_model_gardens_optimizer():
  results, start = [], None
  for optimizer in (_optimizer(), legacy_adamw.AdamWeightDecay(
      _LEARNING_RATE, weight_decay_rate=0.01, epsilon=1e-6,
      exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'])):
    model = _pretrainer(_SMALL, optimizer)
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    _trainer(model)(range(5))
    results.append(weights.read_weights(model))
  for name, value in results[0].items():
    if not name.endswith('attention/key/bias'):  # Its gradient is rounding.
      np.testing.assert_allclose(
          value, results[1][name], atol=1e-5, err_msg=name)


def test_missing_scales_are_refused():
  model = _pretrainer(_SMALL, _optimizer())
  scales = exact_continuation.continuation_scales(
      growth.weight_specs(_SMALL), growth.maps_between(_SMALL, _SMALL))
  del scales['pooler/bias']
  with pytest.raises(ValueError, match='set_scales: no scales for pooler/bias; '
                                       'give one a weight.'):
    model.optimizer.set_scales(model, scales)


def test_scales_hold_on_two_replicas_and_in_checkpoints(mirrored, tmp_path):
  small = _pretrainer(_SMALL, _optimizer(1e-2))
  _trainer(small)(range(3))
  batch = tiny_bert.features(seed=5, lengths=[16, 16, 9, 7])
  data = tf.data.Dataset.from_tensors(batch).repeat(3)
  with mirrored.scope():
    large = _grown(small, 1e-2)
    large.optimizer.set_scales(large, _scales())
  path = tf.train.Checkpoint(model=large, optimizer=large.optimizer).save(
      str(tmp_path / 'ckpt'))
  # Only the replicas need a graph.
  small.run_eagerly = True
  small.fit(data, verbose=0)
  large.fit(data, verbose=0)
  expected = small(batch)['mlm_logits']
  np.testing.assert_allclose(large(batch)['mlm_logits'], expected, atol=1e-4)
  resumed = _pretrainer(_SMALL.replace(**_WIDER), _optimizer(1e-2))
  resumed.run_eagerly = True
  tf.train.Checkpoint(model=resumed, optimizer=resumed.optimizer).restore(
      path).assert_existing_objects_matched()
  resumed.fit(data, verbose=0)
  np.testing.assert_allclose(resumed(batch)['mlm_logits'], expected, atol=1e-4)
