"""Activation, epsilon and factorised feed-forward blocks in the real layers."""

import numpy as np
from official.nlp.modeling import layers
import pytest
import scipy.special
import tensorflow as tf, tf_keras

from official_ext import growth
from official_ext import modeling
from official_ext.growth import named_weights
from official_ext.modeling import activations
from official_ext.modeling import encoder_block
from official_ext.modeling import factorized_dense
from official_ext.modeling import weights
from tests.modeling import tiny_bert


def _pretrainer(architecture):
  """A model with random LayerNorms and biases, where treatments show."""
  model = modeling.GrowingBertPretrainer(architecture)
  random = np.random.default_rng(0)
  weights.write_weights(model, {
      name: random.normal(0, 0.5, value.shape).astype(np.float32)
      for name, value in weights.read_weights(model).items()})
  return model


@pytest.mark.parametrize('name, expected', [
    ('gelu_tanh', lambda x: x / 2 * (1 + np.tanh(
        np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))),
    ('gelu_erf', lambda x: x / 2 * (1 + scipy.special.erf(x / np.sqrt(2)))),
    ('relu', lambda x: np.maximum(x, 0)),
])
def test_activation_by_name_survives_the_configuration(name, expected):
  function = activations.activation_named(name)
  x = np.linspace(-4, 4, 101)
  # Keras' constants are float32.
  np.testing.assert_allclose(function(x), expected(x), rtol=0, atol=1e-8)
  again = tf_keras.activations.get(tf_keras.activations.serialize(function))
  np.testing.assert_array_equal(again(x), function(x))


def test_activation_reaches_blocks_and_head():
  for name in growth.architecture.ACTIVATIONS:
    model = modeling.GrowingBertPretrainer(
        tiny_bert.PLAIN.replace(activation=name))
    wanted = activations.activation_named(name)
    again = modeling.GrowingBertEncoder.from_config(
        model.encoder_network.get_config())
    blocks = model.encoder_network.transformer_layers + again.transformer_layers
    assert [tf_keras.activations.get(block.get_config()['inner_activation'])
            for block in blocks] == [wanted] * 4
    assert model.masked_lm.dense.activation is wanted


def _norms(model):
  return [layer for layer in model.submodules
          if isinstance(layer, tf_keras.layers.LayerNormalization)]


def test_epsilon_reaches_every_norm_and_nothing_else_changes():
  default, other = (
      modeling.GrowingBertPretrainer(tiny_bert.PLAIN.replace(norm_epsilon=e))
      for e in (1e-12, 1e-3))
  # Embeddings, two a block, and the head.
  assert {norm.epsilon for norm in _norms(default)} == {1e-12}
  assert [norm.epsilon for norm in _norms(other)] == [1e-3] * 6
  assert [v.name.split('/', 1)[1] for v in default.trainable_variables] == [
      v.name.split('/', 1)[1] for v in other.trainable_variables]


def test_an_untreated_growing_block_equals_model_gardens():
  arguments = dict(num_attention_heads=2, inner_dim=12,
                   inner_activation='relu', norm_epsilon=1e-5)
  ours = encoder_block.GrowingEncoderBlock(**arguments)
  stock = layers.TransformerEncoderBlock(**arguments)
  x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
  ours(x), stock(x)
  stock.set_weights(ours.get_weights())
  np.testing.assert_allclose(ours(x), stock(x), rtol=0, atol=1e-6)
  assert [v.name.split('/', 1)[1] for v in ours.variables] == [
      v.name.split('/', 1)[1] for v in stock.variables]
  again = encoder_block.GrowingEncoderBlock.from_config(ours.get_config())
  assert again.get_config() == ours.get_config()


def test_factorized_dense_is_the_product():
  layer = factorized_dense.FactorizedDense(3, 7, dtype='float64')
  random = np.random.default_rng(0)
  x = random.normal(size=(2, 5, 6))
  layer(x)
  layer.bias.assign(random.normal(size=7))
  assert layer.kernel_in.shape == (6, 3) and layer.kernel_out.shape == (3, 7)
  np.testing.assert_allclose(
      layer(x),
      x @ (layer.kernel_in.numpy() @ layer.kernel_out.numpy())
      + layer.bias.numpy(), rtol=0, atol=1e-12)
  again = factorized_dense.FactorizedDense.from_config(layer.get_config())
  assert again.get_config() == layer.get_config()


def test_factorised_model_grows_into_an_equal_stock_model():
  treated = tiny_bert.PLAIN.replace(ffn_rank=3)
  model = _pretrainer(treated)
  variables = weights.named_variables(model)
  assert {name: tuple(v.shape) for name, v in variables.items()} == {
      name: spec.shape
      for name, spec in named_weights.weight_specs(treated).items()}
  names = weights.read_weights(model)
  assert names['layer_1/ffn/output/kernel_out'].shape == (3, 8)
  batch = tiny_bert.features()
  expected = model(batch)['mlm_logits']
  for layer in range(2):
    for part in ('inner', 'output'):
      name = f'layer_{layer}/ffn/{part}/kernel'
      names[name] = names.pop(f'{name}_in') @ names.pop(f'{name}_out')
  model.replace_architecture(tiny_bert.PLAIN)
  assert {type(layer) for layer in model.encoder_network.submodules}.isdisjoint(
      {factorized_dense.FactorizedDense})
  weights.write_weights(model, names)
  np.testing.assert_allclose(model(batch)['mlm_logits'], expected, atol=2e-5)


@pytest.mark.parametrize('architecture', [
    tiny_bert.PLAIN.replace(ffn_rank=3, query_pool_size=2),
    tiny_bert.PLAIN.replace(
        norm_source_size=4, activation='gelu_erf', norm_epsilon=1e-6),
])
def test_treated_models_train_with_xla_and_come_back_from_their_config(
    architecture):
  model = modeling.GrowingBertPretrainer(architecture)
  model.compile(optimizer=tiny_bert.adamw(), jit_compile=True)
  before = weights.read_weights(model)
  model.fit(tf.data.Dataset.from_tensors(tiny_bert.features()), verbose=0)
  after = weights.read_weights(model)
  for name, value in after.items():
    # The encoder's own pooler feeds no loss.
    assert (value != before[name]).any() != name.startswith('pooler/'), name
  again = modeling.GrowingBertPretrainer.from_config(model.get_config())
  weights.write_weights(again, after)
  encoder = modeling.GrowingBertEncoder.from_config(
      model.encoder_network.get_config())
  assert encoder.get_config() == model.encoder_network.get_config()
  batch = tiny_bert.features()
  np.testing.assert_allclose(
      again(batch)['mlm_logits'], model(batch)['mlm_logits'], atol=1e-6)
