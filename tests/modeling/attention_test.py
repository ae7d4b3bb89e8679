"""Attention against Keras' own and against formulas in NumPy."""

import gc
import weakref

import numpy as np
import tensorflow as tf, tf_keras

from official_ext.modeling import attention
from official_ext.modeling import dropout_state

BATCH, QUERIES, KEYS, HEADS, HEAD_SIZE, HIDDEN = 2, 3, 5, 2, 4, 6


def _layers(dropout=0.0):
  keras = tf_keras.layers.MultiHeadAttention(
      HEADS, HEAD_SIZE, dropout=dropout, dtype='float64', name='attention')
  ours = attention.GrowingAttention.like(keras)
  return ours, keras


def _inputs():
  random = np.random.default_rng(0)
  query = tf.constant(random.normal(size=(BATCH, QUERIES, HIDDEN)))
  value = tf.constant(random.normal(size=(BATCH, KEYS, HIDDEN)))
  mask = random.random((BATCH, QUERIES, KEYS)) < 0.7
  mask[..., 0] = True
  return query, value, mask


def _outputs_and_gradients(layer, query, value, mask):
  weight = tf.constant(
      np.random.default_rng(1).normal(size=(BATCH, QUERIES, HIDDEN)))
  with tf.GradientTape() as tape:
    tape.watch([query, value])
    output = layer(query, value, attention_mask=mask, training=True)
    loss = tf.reduce_sum(output * weight)
  return output, tape.gradient(
      loss, [query, value, *layer.trainable_variables])


def test_outputs_scores_and_gradients_are_those_of_keras():
  ours, keras = _layers()
  query, value, mask = _inputs()
  for layer in (ours, keras):
    layer(query, value)
  assert [v.name for v in ours.variables] == [v.name for v in keras.variables]
  keras.set_weights(ours.get_weights())
  got, wanted = (_outputs_and_gradients(layer, query, value, mask)
                 for layer in (ours, keras))
  np.testing.assert_allclose(got[0], wanted[0], rtol=0, atol=1e-13)
  for one, other in zip(got[1], wanted[1], strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
  scores = [layer(query, value, attention_mask=mask,
                  return_attention_scores=True)[1] for layer in (ours, keras)]
  np.testing.assert_allclose(*scores, rtol=0, atol=1e-14)


def test_dropout_zeroes_probabilities_and_its_gradient_is_that_of_the_formula():
  ours, _ = _layers(dropout=0.4)
  query, value, mask = _inputs()
  ours(query, value)
  generator = tf.random.Generator.from_seed(3)
  assert dropout_state.share_generator(ours, generator) == 1
  output, gradients = _outputs_and_gradients(ours, query, value, mask)

  generator.reset_from_seed(3)
  is_kept, scale = dropout_state.SharedDropout(generator).mask(
      [BATCH, HEADS, QUERIES, KEYS], 0.4)
  assert 0 < np.mean(is_kept) < 1
  weights = {v.name.split('/', 1)[1]: v for v in ours.trainable_variables}

  def formula(query, value):
    def project(name, x):
      return tf.einsum('bsd,dnh->bnsh', x, weights[f'{name}/kernel:0']) + (
          weights[f'{name}/bias:0'][:, tf.newaxis])
    scores = tf.einsum('bnqh,bnkh->bnqk', project('query', query),
                       project('key', value)) / HEAD_SIZE**0.5
    scores = tf.where(mask[:, tf.newaxis], scores, -1e9)
    used = tf.nn.softmax(scores) * tf.cast(is_kept, tf.float64) * scale
    context = tf.einsum('bnqk,bnkh->bqnh', used, project('value', value))
    return tf.einsum(
        'bqnh,nhd->bqd', context, weights['attention_output/kernel:0']) + (
            weights['attention_output/bias:0'])

  weight = np.random.default_rng(1).normal(size=(BATCH, QUERIES, HIDDEN))
  with tf.GradientTape() as tape:
    tape.watch([query, value])
    wanted = formula(query, value)
    loss = tf.reduce_sum(wanted * weight)
  np.testing.assert_allclose(output, wanted, rtol=0, atol=1e-13)
  for one, other in zip(
      gradients, tape.gradient(
          loss, [query, value, *ours.trainable_variables]), strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_half_precision_adds_the_mean_gradient_up_in_full():
  query, value, mask = _inputs()
  layer = attention.GrowingAttention(
      HEADS, HEAD_SIZE, dtype=tf_keras.mixed_precision.Policy('mixed_bfloat16'))
  layer(query, value)
  _, gradients = _outputs_and_gradients_in(layer, tf.bfloat16, query, value, mask)
  wide = attention.GrowingAttention(HEADS, HEAD_SIZE, dtype='float64')
  wide(query, value)
  wide.set_weights([w.astype(np.float64) for w in layer.get_weights()])
  _, wanted = _outputs_and_gradients(wide, query, value, mask)
  for one, other in zip(gradients, wanted, strict=True):
    # That of the keys' bias is zero, as it moves all scores alike.
    allowed = 0.05 * np.abs(other).max() + 0.005
    assert np.abs(tf.cast(one, tf.float64) - other).max() < allowed


def _outputs_and_gradients_in(layer, dtype, query, value, mask):
  weight = tf.cast(
      np.random.default_rng(1).normal(size=(BATCH, QUERIES, HIDDEN)), dtype)
  query, value = tf.cast(query, dtype), tf.cast(value, dtype)
  with tf.GradientTape() as tape:
    tape.watch([query, value])
    output = layer(query, value, attention_mask=mask, training=True)
    loss = tf.reduce_sum(output * weight)
  return output, tape.gradient(
      loss, [query, value, *layer.trainable_variables])


def test_sizes_need_not_be_known():
  ours, _ = _layers(dropout=0.4)
  query, value, _ = _inputs()
  ours(query, value)
  generator = tf.random.Generator.from_seed(3)
  dropout_state.share_generator(ours, generator)

  @tf.function(input_signature=[
      tf.TensorSpec([None, None, HIDDEN], tf.float64) for _ in range(2)])
  def call(query, value):
    return ours(query, value, training=True)

  traced = call(query, value)
  generator.reset_from_seed(3)
  np.testing.assert_allclose(
      traced, ours(query, value, training=True), rtol=0, atol=1e-12)


def test_what_a_traced_step_held_goes_with_it():
  layer, _ = _layers()
  query, value, mask = _inputs()
  layer(query, value)

  @tf.function
  def step():
    return _outputs_and_gradients(layer, query, value, mask)

  held = [weakref.ref(step.get_concrete_function().graph),
          weakref.ref(layer.trainable_variables[0].handle)]
  del step, layer
  gc.collect()
  assert [reference() for reference in held] == [None, None]


def test_a_gradient_is_found_from_outside_of_the_function():
  layer, _ = _layers()
  query, value, mask = _inputs()
  wanted = _outputs_and_gradients(layer, query, value, mask)[1][:2]
  call = tf.function(
      lambda query, value: layer(
          query, value, attention_mask=mask, training=True))
  weight = np.random.default_rng(1).normal(size=(BATCH, QUERIES, HIDDEN))
  with tf.GradientTape() as tape:
    tape.watch([query, value])
    loss = tf.reduce_sum(call(query, value) * weight)
  for one, other in zip(
      tape.gradient(loss, [query, value]), wanted, strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_what_is_exported_has_no_gradient_of_its_own():
  layer, _ = _layers()
  query, value, _ = _inputs()
  layer(query, value)
  has_own = []
  for training in (False, True):
    graph = tf.function(layer).get_concrete_function(
        query, value, training=training).graph
    has_own.append(
        any(node.op == 'IdentityN' for node in graph.as_graph_def().node))
  assert has_own == [False, True]
