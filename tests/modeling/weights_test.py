"""The adapter: every trainable variable under one canonical name."""

import numpy as np
from official.modeling.optimization import lamb
import pytest
import tensorflow as tf, tf_keras

from official_ext import modeling
from official_ext.growth import named_weights
from official_ext.modeling import weights
from tests.modeling import tiny_bert


@pytest.mark.parametrize('architecture', [tiny_bert.PLAIN, tiny_bert.TREATED])
@pytest.mark.parametrize('use_next_sentence', [True, False])
def test_names_and_shapes_are_those_of_growth(architecture, use_next_sentence):
  model = modeling.GrowingBertPretrainer(
      architecture, use_next_sentence=use_next_sentence)
  variables = weights.named_variables(model)
  specs = named_weights.weight_specs(
      architecture, has_next_sentence=use_next_sentence)
  assert {name: tuple(v.shape) for name, v in variables.items()} == {
      name: spec.shape for name, spec in specs.items()}
  assert {id(v) for v in variables.values()} == {
      id(v) for v in model.trainable_variables}


def test_write_then_read():
  model = modeling.GrowingBertPretrainer(tiny_bert.PLAIN)
  random = np.random.default_rng(0)
  wanted = {name: random.normal(size=value.shape).astype(np.float32)
            for name, value in weights.read_weights(model).items()}
  weights.write_weights(model, wanted)
  for name, value in weights.read_weights(model).items():
    np.testing.assert_array_equal(value, wanted[name])


def test_refuses_what_does_not_fit_and_writes_nothing():
  model = modeling.GrowingBertPretrainer(tiny_bert.PLAIN)
  before = weights.read_weights(model)
  arrays = {name: value + 1 for name, value in before.items()}
  del arrays['pooler/bias']
  arrays['extra'] = np.zeros(3)
  arrays['layer_0/ffn/inner/bias'] = np.zeros(4)
  with pytest.raises(ValueError) as error:
    weights.write_weights(model, arrays)
  assert str(error.value) == (
      "write_weights: the arrays do not fit the model; missing: "
      "['pooler/bias']; unknown: ['extra']; shapes: layer_0/ffn/inner/bias is "
      '(4,), the model has (16,).')
  for name, value in weights.read_weights(model).items():
    np.testing.assert_array_equal(value, before[name])


def test_a_variable_without_a_name_is_found():
  model = modeling.GrowingBertPretrainer(tiny_bert.PLAIN)
  model.extra = tf.Variable(0.0, name='stray')
  with pytest.raises(ValueError, match=r"without a name: \['stray:0'\]"):
    weights.named_variables(model)


@pytest.mark.parametrize('make, on_two', [
    (tiny_bert.adamw, False), (lamb.LAMB, True)])
def test_moments_round_trip_and_follow_the_gradients(make, on_two, mirrored):
  strategy = mirrored if on_two else tf.distribute.get_strategy()
  with strategy.scope():
    model = modeling.GrowingBertPretrainer(tiny_bert.PLAIN)
    model.compile(optimizer=make(), run_eagerly=True)
    zeros, _ = weights.read_moments(model.optimizer, model)
    assert not any(value.any() for value in zeros.values())
  model.fit(tf.data.Dataset.from_tensors(tiny_bert.features()), verbose=0)
  first, second = weights.read_moments(model.optimizer, model)
  for name, value in first.items():
    # The encoder's own pooler feeds no loss.
    assert value.any() != name.startswith('pooler/'), name
    assert (second[name] >= 0).all()
  with strategy.scope():
    other = make()
    weights.write_moments(other, model, first, second)
    for wanted, got in zip((first, second),
                           weights.read_moments(other, model)):
      for name, value in got.items():
        np.testing.assert_array_equal(value, wanted[name])


def test_other_optimizers_are_refused():
  model = modeling.GrowingBertPretrainer(tiny_bert.PLAIN)
  with pytest.raises(ValueError, match='optimizer is a Adam, whose moments '
                                       'cannot be moved; use AdamWeightDecay'):
    weights.read_moments(tf_keras.optimizers.Adam(), model)
