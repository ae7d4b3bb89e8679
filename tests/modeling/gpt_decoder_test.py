"""The GPT decoder against NumPy, and what each of its tokens can see."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext.growth.architecture import Architecture
from official_ext.modeling import gpt_decoder
from official_ext.modeling import weights
from tests.growth import numpy_gpt
from tests.modeling import tiny_gpt


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('architecture', [
    tiny_gpt.PLAIN,
    tiny_gpt.SHARED,
    tiny_gpt.PLAIN.replace(activation='gelu_erf', norm_epsilon=1e-3),
    tiny_gpt.PLAIN.replace(activation='relu', num_heads=4, head_size=3),
    tiny_gpt.PLAIN.replace(ffn_rank=3),
    tiny_gpt.PLAIN.replace(norm_source_size=5),
], ids=['plain', 'shared', 'erf', 'relu, heads of 3', 'factorised', 'weighted'])
def test_logits_are_numpy_s(architecture):
  model = tiny_gpt.pretrainer(architecture)
  lengths = [16, 9, 1]
  batch = tiny_gpt.features(batch=3, lengths=lengths)
  got = model(batch)['logits']
  assert got.dtype == tf.float64
  arrays = weights.read_weights(model)
  for row, length in enumerate(lengths):
    ids = batch['input_word_ids'][row, :length].numpy()
    np.testing.assert_allclose(
        got[row, :length], numpy_gpt.logits(arrays, architecture, ids),
        rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('num_layers', [1, 2, 3])
def test_only_the_bottom_blocks_are_run(num_layers):
  architecture = tiny_gpt.PLAIN.replace(num_layers=3)
  model = tiny_gpt.pretrainer(architecture)
  batch = tiny_gpt.features(batch=1)
  np.testing.assert_allclose(
      model.decoder(batch, num_layers=num_layers)['logits'][0],
      numpy_gpt.logits(weights.read_weights(model), architecture,
                       batch['input_word_ids'][0].numpy(),
                       num_layers=num_layers), rtol=1e-10, atol=1e-12)


def test_no_token_sees_a_later_one_or_padding():
  model = tiny_gpt.pretrainer()
  batch = tiny_gpt.features(batch=2, lengths=[16, 10])
  expected = model(batch)['logits'].numpy()
  ids = batch['input_word_ids'].numpy()
  for position in (1, 7, 15):
    changed = ids.copy()
    changed[:, position] = (changed[:, position] + 1) % 50
    got = model({**batch, 'input_word_ids': tf.constant(changed)})['logits']
    np.testing.assert_array_equal(
        got[:, :position], expected[:, :position])
    assert np.abs(got[0, position:] - expected[0, position:]).max(
        axis=-1).min() > 1e-3
    assert (np.abs(got[1] - expected[1]).max() > 1e-3) == (position < 16)


def test_the_mask_is_causal_and_hides_padding():
  mask = gpt_decoder.causal_mask(tf.constant([[1, 1, 1], [1, 1, 0]]))
  np.testing.assert_array_equal(tf.cast(mask, tf.int32), [
      [[1, 0, 0], [1, 1, 0], [1, 1, 1]], [[1, 0, 0], [1, 1, 0], [1, 1, 0]]])


@pytest.mark.parametrize('num_layers, trained_layers, reached', [
    (None, None, {0, 1, 2}), (None, 3, {0, 1, 2}), (None, 1, {2}),
    (2, 1, {1}), (1, 1, {0}), (2, None, {0, 1}),
])
def test_gradient_stops_below_the_trained_blocks(
    num_layers, trained_layers, reached):
  model = tiny_gpt.pretrainer(tiny_gpt.PLAIN.replace(num_layers=3))
  batch = tiny_gpt.features()
  variables = weights.named_variables(model)
  with tf.GradientTape() as tape:
    outputs = model.forward(
        batch, False, num_layers=num_layers, trained_layers=trained_layers)
    loss = tf.reduce_sum(tf.square(outputs['logits']))
  gradients = tape.gradient(loss, variables)
  expected = {'embeddings/word', 'final_norm/gamma', 'final_norm/beta'}
  expected |= {name for name in variables for layer in reached
               if name.startswith(f'layer_{layer}/')}
  if trained_layers is None:
    expected.add('embeddings/position')
  assert {name for name, gradient in gradients.items()
          if gradient is not None} == expected
  # Of the word embedding, below frozen blocks, the use as decoder only.
  logits_gradient = tf.einsum(
      'bsv,bsd->vd', 2 * outputs['logits'], outputs['sequence_output'])
  error = tf.reduce_max(tf.abs(
      tf.convert_to_tensor(gradients['embeddings/word']) - logits_gradient))
  assert (error < 1e-3) == (trained_layers is not None)


def test_reading_token_by_token_gives_the_same_hidden_states():
  model = tiny_gpt.pretrainer()
  batch = tiny_gpt.features(batch=3, sequence=12)
  expected = model(batch)['sequence_output']
  cache = model.decoder.empty_cache(3, 16)
  step = tf.function(model.decoder.step)
  for index in range(12):
    hidden, cache = step(
        batch['input_word_ids'][:, index], tf.constant(index), cache)
    np.testing.assert_allclose(hidden, expected[:, index], atol=2e-5)


def test_another_family_is_refused():
  bert = Architecture(
      num_layers=1, hidden_size=8, num_heads=2, inner_size=16, vocab_size=50)
  with pytest.raises(ValueError) as error:
    gpt_decoder.GrowingGptDecoder(bert)
  assert str(error.value) == (
      "family is 'bert'; GrowingGptDecoder builds 'gpt' only, "
      "GrowingBertPretrainer builds 'bert'.")


def test_no_gradient_is_made_for_each_token_apart():
  batch, sequence, vocab = 4, 16, 50
  model = tiny_gpt.pretrainer()

  @tf.function
  def gradients(features):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model(features)['logits'])
    return tape.gradient(loss, model.trainable_variables)

  graph = gradients.get_concrete_function(tiny_gpt.features(batch)).graph
  sizes = [tensor.shape.num_elements() or 0
           for operation in graph.get_operations()
           for tensor in operation.outputs]
  # The logits are the largest tensor; the table's gradient for each token
  # would have `hidden` times as many entries.
  assert max(sizes) == batch * sequence * vocab
