"""Training the pretrainer, on one device and on two."""

import gc
import weakref

import numpy as np
from official.nlp.modeling import layers
from official.nlp.modeling import models
from official.modeling import tf_utils
import pytest
import tensorflow as tf, tf_keras

from official_ext import modeling
from official_ext.growth.architecture import Architecture
from official_ext.modeling import weights
from tests.modeling import tiny_bert

UNEVEN = dict(lengths=[16, 16, 9, 7], counts=[4, 4, 2, 1])


def _pretrainer(architecture=tiny_bert.PLAIN, **kwargs):
  return modeling.GrowingBertPretrainer(architecture, **kwargs)


def _fit(model, batch, steps=1):
  return model.fit(
      tf.data.Dataset.from_tensors(batch).repeat(steps), verbose=0)


def _numpy_losses(model, batch):
  """Both mean losses from the logits, by hand."""
  outputs = model(batch, training=False)
  def cross_entropy(logits, labels):
    logits = np.asarray(logits, np.float64)
    log_sum = np.log(np.exp(logits).sum(-1))
    return log_sum - np.take_along_axis(
        logits, np.asarray(labels)[..., None], -1)[..., 0]
  by_token = cross_entropy(outputs['mlm_logits'], batch['masked_lm_ids'])
  weight = batch['masked_lm_weights'].numpy()
  by_pair = cross_entropy(
      outputs['next_sentence'], batch['next_sentence_labels'][:, 0])
  hits = np.argmax(outputs['mlm_logits'], -1) == batch['masked_lm_ids'].numpy()
  return ((by_token * weight).sum() / weight.sum(), by_pair.mean(),
          (hits * weight).sum() / weight.sum())


@pytest.mark.parametrize('architecture', [tiny_bert.PLAIN, tiny_bert.TREATED])
def test_losses_and_metrics_are_global_means(architecture):
  model = _pretrainer(architecture)
  model.compile(optimizer=tiny_bert.adamw())
  batch = tiny_bert.features(**UNEVEN)
  masked_lm, next_sentence, accuracy = _numpy_losses(model, batch)
  # Batches of 3 and 1: the means do not depend on how examples are cut.
  logs = model.evaluate(
      tf.data.Dataset.from_tensor_slices(batch).batch(3), verbose=0,
      return_dict=True)
  assert list(logs) == [
      'loss', 'masked_lm_loss', 'masked_lm_accuracy', 'next_sentence_loss',
      'next_sentence_accuracy', 'overflow_tokens']
  assert logs['masked_lm_loss'] == pytest.approx(masked_lm, rel=1e-5)
  assert logs['next_sentence_loss'] == pytest.approx(next_sentence, rel=1e-5)
  assert logs['loss'] == pytest.approx(masked_lm + next_sentence, rel=1e-5)
  assert logs['masked_lm_accuracy'] == pytest.approx(accuracy)


def test_overflow_is_counted():
  model = _pretrainer(tiny_bert.TREATED)
  model.compile(optimizer=tiny_bert.adamw())
  # 16 - 1 - 4 = 11 tokens fit into 6 slots of 2; with 1 masked there are 14.
  batch = tiny_bert.features(batch=2, counts=[4, 1])
  logs = model.evaluate(
      tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
  assert logs['overflow_tokens'] == 2


def test_masked_rows_feed_the_logits():
  model = _pretrainer(tiny_bert.TREATED)
  outputs = model(tiny_bert.features(), training=False)
  rows = outputs['sequence_output'][:, -tiny_bert.PREDICTIONS:]
  positions = tf.tile(tf.range(tiny_bert.PREDICTIONS)[tf.newaxis], [4, 1])
  np.testing.assert_allclose(
      outputs['mlm_logits'], model.masked_lm(rows, masked_positions=positions),
      atol=1e-6)


@pytest.mark.parametrize('architecture, make', [
    (tiny_bert.SHALLOW_TREATED, tiny_bert.adamw),
    (tiny_bert.SHALLOW, lambda: tf_keras.optimizers.Adam(1e-2))])
def test_two_replicas_equal_one_device(architecture, make, mirrored):
  batch = tiny_bert.features(**UNEVEN)
  start = None
  results = []
  for strategy in (tf.distribute.get_strategy(), mirrored):
    with strategy.scope():
      model = _pretrainer(architecture, **tiny_bert.NO_DROPOUT)
      model.compile(optimizer=make())
    if start is None:
      start = weights.read_weights(model)
    weights.write_weights(model, start)
    logs = _fit(model, batch).history
    results.append((logs, weights.read_weights(model)))
  (one_logs, one), (two_logs, two) = results
  for name in one_logs:
    assert two_logs[name] == pytest.approx(one_logs[name], abs=1e-5), name
  for name in one:
    np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)


def test_gradients_are_clipped_by_their_global_norm():
  batch = tiny_bert.features(**UNEVEN)
  start = None
  moved = {}
  for norm in (0, 0.5):
    model = _pretrainer(
        tiny_bert.SHALLOW, gradient_clip_norm=norm, **tiny_bert.NO_DROPOUT)
    model.compile(optimizer=tf_keras.optimizers.SGD(1.0))
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    _fit(model, batch)
    after = weights.read_weights(model)
    moved[norm] = np.sqrt(sum(
        np.square(after[name] - start[name], dtype=np.float64).sum()
        for name in start))
  assert moved[0] > 1
  assert moved[0.5] == pytest.approx(0.5, rel=1e-5)


def test_untreated_outputs_equal_a_stock_pretrainer():
  ours = _pretrainer()
  stock = models.BertPretrainerV2(
      encoder_network=modeling.GrowingBertEncoder.from_architecture(
          tiny_bert.PLAIN),
      mlm_activation=tf_utils.get_activation('gelu'),
      classification_heads=[layers.ClassificationHead(
          inner_dim=8, num_classes=2, name='next_sentence')])
  batch = tiny_bert.features(**UNEVEN)
  stock(tiny_bert.inputs(batch))
  weights.write_weights(stock, weights.read_weights(ours))
  expected, got = stock(tiny_bert.inputs(batch)), ours(batch)
  assert set(got) == set(expected)
  for name in ('mlm_logits', 'next_sentence', 'sequence_output'):
    np.testing.assert_array_equal(got[name], expected[name])


@pytest.mark.parametrize('architecture', [
    tiny_bert.SHALLOW, tiny_bert.SHALLOW_TREATED])
def test_mixed_bfloat16(architecture):
  tf_keras.mixed_precision.set_global_policy('mixed_bfloat16')
  try:
    model = _pretrainer(architecture)
    model.compile(optimizer=tiny_bert.adamw())
    before = weights.read_weights(model)
    logs = _fit(model, tiny_bert.features(**UNEVEN)).history
    after = weights.read_weights(model)
    assert model(tiny_bert.features())['mlm_logits'].dtype == tf.bfloat16
    assert np.isfinite(logs['loss'][0])
    assert all(v.dtype == tf.float32 for v in model.trainable_variables)
    assert any((after[name] != before[name]).any() for name in after)
  finally:
    tf_keras.mixed_precision.set_global_policy('float32')


def test_config_round_trip():
  model = _pretrainer(tiny_bert.TREATED, query_pool_type='max',
                      use_next_sentence=False, dropout_seed=5, name='small')
  config = model.get_config()
  again = modeling.GrowingBertPretrainer.from_config(config)
  assert again.get_config() == config
  assert Architecture(**config['architecture']) == again.architecture
  assert again.architecture == tiny_bert.TREATED
  assert again.name == 'small'
  weights.write_weights(again, weights.read_weights(model))
  batch = tiny_bert.features()
  np.testing.assert_array_equal(
      again(batch)['mlm_logits'], model(batch)['mlm_logits'])


def test_negative_clip_norm_is_refused():
  with pytest.raises(ValueError, match='gradient_clip_norm is -1; give a posi'):
    _pretrainer(gradient_clip_norm=-1)


@pytest.mark.parametrize('on_two', [False, True])
def test_replacing_the_architecture_releases_the_old_one(on_two, mirrored):
  strategy = mirrored if on_two else tf.distribute.get_strategy()
  with strategy.scope():
    model = _pretrainer(tiny_bert.SHALLOW_TREATED)
    optimizer = tiny_bert.adamw()
    model.compile(optimizer=optimizer)
  batch = tiny_bert.features()
  _fit(model, batch)
  model.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0)
  old = [weakref.ref(variable) for variable in model.trainable_variables]
  old += [weakref.ref(layer) for layer in (
      model.encoder_network, model.masked_lm, model.classification_heads[0])]
  names = model.metrics_names
  target = tiny_bert.PLAIN
  with strategy.scope():
    model.replace_architecture(target)
    assert model.optimizer is optimizer
    model.optimizer = tiny_bert.adamw()
  model.history = None
  del optimizer
  gc.collect()
  # One variable stays: something in TensorFlow keeps the old traced graph, and
  # the graph's slice of the position embedding holds on to its variable.
  alive = [ref() for ref in old if ref() is not None]
  assert {thing.name.split('/', 1)[-1] for thing in alive} <= {
      'position_embedding/embeddings:0'}
  assert model.architecture == target
  assert model.metrics_names == names
  fresh = _pretrainer(target)
  assert [tuple(v.shape) for v in model.trainable_variables] == [
      tuple(v.shape) for v in fresh.trainable_variables]
  assert len(weights.named_variables(model)) == len(model.trainable_variables)
  logs = _fit(model, batch).history
  assert np.isfinite(logs['loss'][0])
