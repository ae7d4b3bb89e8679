"""A resumed run sees the same dropout masks as one that never stopped."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext import modeling
from official_ext.modeling import dropout_state
from official_ext.modeling import weights
from tests.modeling import tiny_bert


def _build(strategy, architecture, jit_compile):
  with strategy.scope():
    model = modeling.GrowingBertPretrainer(architecture)
    model.compile(optimizer=tiny_bert.adamw(), jit_compile=jit_compile)
  return model


def _train(model, start, stop):
  for step in range(start, stop):
    model.fit(tf.data.Dataset.from_tensors(tiny_bert.features(seed=step)),
              verbose=0)


@pytest.mark.parametrize('kind', ['one device', 'xla', 'mirrored'])
def test_resumed_training_is_bit_identical(kind, tmp_path, mirrored):
  strategy = (mirrored if kind == 'mirrored' else tf.distribute.get_strategy())
  architecture = tiny_bert.SHALLOW_TREATED
  model = _build(strategy, architecture, kind == 'xla')
  _train(model, 0, 3)
  path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(
      str(tmp_path / 'ckpt'))
  _train(model, 3, 6)

  # Another process would have drawn other numbers by now.
  tf.random.uniform([7])
  np.random.random(5)
  resumed = _build(strategy, architecture, kind == 'xla')
  tf.train.Checkpoint(model=resumed, optimizer=resumed.optimizer).restore(
      path).assert_existing_objects_matched()
  _train(resumed, 3, 6)
  wanted, got = (weights.read_weights(m) for m in (model, resumed))
  for name, value in wanted.items():
    np.testing.assert_array_equal(got[name], value, err_msg=name)

  if kind == 'xla':  # compiling takes long, and shows nothing new
    return
  forgetful = _build(strategy, architecture, kind == 'xla')
  tf.train.Checkpoint(model=forgetful, optimizer=forgetful.optimizer).restore(
      path).assert_existing_objects_matched()
  forgetful.dropout_generator.reset_from_seed(99)
  _train(forgetful, 3, 6)
  other = weights.read_weights(forgetful)
  assert any((other[name] != value).any() for name, value in wanted.items())


def test_all_dropout_layers_share_one_state_that_growth_keeps():
  model = modeling.GrowingBertPretrainer(tiny_bert.TREATED)
  generator = model.dropout_generator
  before = generator.state.numpy()
  model(tiny_bert.features(), training=False)
  np.testing.assert_array_equal(generator.state.numpy(), before)
  model(tiny_bert.features(), training=True)
  after = generator.state.numpy()
  assert (after != before).any()
  model.replace_architecture(tiny_bert.PLAIN)
  assert model.dropout_generator is generator
  np.testing.assert_array_equal(generator.state.numpy(), after)
  # Embeddings and head, and four a block: attention scores, attention, inner,
  # output.
  assert dropout_state.share_generator(model, generator) == 2 + 4 * 2


def test_replicas_draw_different_masks(mirrored):
  with mirrored.scope():
    model = modeling.GrowingBertPretrainer(tiny_bert.PLAIN)
  batch = tiny_bert.features(batch=1)
  outputs = mirrored.run(
      lambda: model(batch, training=True)['sequence_output'])
  first, second = mirrored.experimental_local_results(outputs)
  assert np.abs(first - second).max() > 0.1
