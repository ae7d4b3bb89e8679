"""Training a GPT, on one device and on two."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf, tf_keras

from official_ext import modeling
from official_ext.growth.architecture import Architecture
from official_ext.modeling import dropout_state
from official_ext.modeling import weights
from tests.growth import numpy_gpt
from tests.modeling import tiny_bert
from tests.modeling import tiny_gpt

UNEVEN = dict(lengths=[16, 16, 9, 7])


def _pretrainer(architecture=tiny_gpt.PLAIN, **options):
  return modeling.GrowingGptPretrainer(
      architecture, **{**tiny_gpt.VIVID, **options})


def _fit(model, batch, steps=1):
  return model.fit(
      tf.data.Dataset.from_tensors(batch).repeat(steps), verbose=0)


def test_loss_and_accuracy_are_global_means():
  model = _pretrainer()
  model.compile(optimizer=tiny_bert.adamw())
  batch = tiny_gpt.features(**UNEVEN)
  arrays = weights.read_weights(model)
  rows = [ids[:length].numpy() for ids, length in zip(
      batch['input_word_ids'], UNEVEN['lengths'])]
  hits = np.concatenate([
      numpy_gpt.logits(arrays, tiny_gpt.PLAIN, ids)[:-1].argmax(-1) == ids[1:]
      for ids in rows])
  # Batches of 3 and 1: the means do not depend on how examples are cut.
  logs = model.evaluate(
      tf.data.Dataset.from_tensor_slices(batch).batch(3), verbose=0,
      return_dict=True)
  assert list(logs) == ['loss', 'causal_lm_loss', 'causal_lm_accuracy']
  assert logs['loss'] == pytest.approx(
      numpy_gpt.rows_loss(arrays, tiny_gpt.PLAIN, rows), rel=1e-5)
  assert logs['causal_lm_loss'] == logs['loss']
  assert logs['causal_lm_accuracy'] == pytest.approx(hits.mean(), abs=1e-6)


# The step is the BERT's, which does the same with each optimizer.
@pytest.mark.parametrize('architecture, make', [
    (tiny_gpt.SHALLOW_SHARED, tiny_bert.adamw),
    pytest.param(tiny_gpt.SHALLOW, lambda: tf_keras.optimizers.Adam(1e-2),
                 marks=pytest.mark.slow)])
def test_two_replicas_equal_one_device(architecture, make, mirrored):
  batch = tiny_gpt.features(**UNEVEN)
  start = None
  results = []
  for strategy in (tf.distribute.get_strategy(), mirrored):
    with strategy.scope():
      model = _pretrainer(architecture, **tiny_gpt.NO_DROPOUT)
      model.compile(optimizer=make())
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    logs = _fit(model, batch).history
    results.append((logs, weights.read_weights(model)))
  (one_logs, one), (two_logs, two) = results
  for name in one_logs:
    assert two_logs[name] == pytest.approx(one_logs[name], abs=1e-5), name
  for name in one:
    np.testing.assert_allclose(two[name], one[name], atol=2e-5, err_msg=name)


def test_gradients_are_clipped_by_their_global_norm():
  start = None
  moved = {}
  for norm in (0, 0.05):
    model = _pretrainer(
        tiny_gpt.SHALLOW, gradient_clip_norm=norm, **tiny_gpt.NO_DROPOUT)
    model.compile(optimizer=tf_keras.optimizers.SGD(1.0))
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    _fit(model, tiny_gpt.features(**UNEVEN))
    after = weights.read_weights(model)
    moved[norm] = np.sqrt(sum(
        np.square(after[name] - start[name], dtype=np.float64).sum()
        for name in start))
  assert moved[0] > 0.5
  assert moved[0.05] == pytest.approx(0.05, rel=1e-4)


def test_it_memorises_a_batch():
  model = _pretrainer(**tiny_gpt.NO_DROPOUT)
  model.compile(optimizer=tiny_bert.adamw(2e-2))
  batch = tiny_gpt.features()
  _fit(model, batch, steps=150)
  logs = model.evaluate(
      tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
  assert logs['causal_lm_accuracy'] > 0.95
  assert logs['loss'] < 0.3


def test_a_training_step_compiles_to_the_same_numbers():
  batch = tiny_gpt.features(**UNEVEN)
  start = None
  results = []
  for jit_compile in (False, True):
    model = _pretrainer(tiny_gpt.SHARED, **tiny_gpt.NO_DROPOUT)
    model.compile(optimizer=tiny_bert.adamw(1e-3), jit_compile=jit_compile)
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    results.append((_fit(model, batch).history, weights.read_weights(model)))
  (logs, plain), (xla_logs, compiled) = results
  for name, values in logs.items():
    assert xla_logs[name] == pytest.approx(values, abs=1e-5), name
  for name, value in plain.items():
    np.testing.assert_allclose(
        compiled[name], value, atol=2e-4, err_msg=name)


def test_mixed_bfloat16():
  tf_keras.mixed_precision.set_global_policy('mixed_bfloat16')
  try:
    model = _pretrainer()
    model.compile(optimizer=tiny_bert.adamw())
    before = weights.read_weights(model)
    logs = _fit(model, tiny_gpt.features(**UNEVEN)).history
    after = weights.read_weights(model)
    assert model(tiny_gpt.features())['logits'].dtype == tf.bfloat16
    assert np.isfinite(logs['loss'][0])
    assert all(v.dtype == tf.float32 for v in model.trainable_variables)
    assert all((after[name] != before[name]).any() for name in after)
  finally:
    tf_keras.mixed_precision.set_global_policy('float32')


def test_config_round_trip():
  model = _pretrainer(tiny_gpt.SHARED, dropout_seed=5, name='small')
  config = model.get_config()
  again = modeling.GrowingGptPretrainer.from_config(config)
  assert again.get_config() == config
  assert Architecture(**config['architecture']) == again.architecture
  assert again.name == 'small'
  weights.write_weights(again, weights.read_weights(model))
  batch = tiny_gpt.features()
  np.testing.assert_array_equal(
      again.comparison_logits(batch), model(batch, training=False)['logits'])


def test_negative_clip_norm_is_refused():
  with pytest.raises(ValueError, match='gradient_clip_norm is -1; give a posi'):
    _pretrainer(gradient_clip_norm=-1)


@pytest.mark.parametrize('on_two', [
    False, pytest.param(True, marks=pytest.mark.slow)])
def test_replacing_the_architecture_releases_the_old_one(on_two, mirrored):
  strategy = mirrored if on_two else tf.distribute.get_strategy()
  with strategy.scope():
    model = _pretrainer(tiny_gpt.SHALLOW_SHARED)
    optimizer = tiny_bert.adamw()
    model.compile(optimizer=optimizer)
  batch = tiny_gpt.features()
  _fit(model, batch)
  model.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0)
  old = [weakref.ref(variable) for variable in model.trainable_variables]
  old += [weakref.ref(model.decoder)]
  names = model.metrics_names
  target = tiny_gpt.PLAIN
  with strategy.scope():
    model.replace_architecture(target)
    assert model.optimizer is optimizer
    model.optimizer = tiny_bert.adamw()
  model.history = None
  del optimizer
  gc.collect()
  # As for BERT, the old graph's slice of the position embedding may stay.
  alive = [ref() for ref in old if ref() is not None]
  assert {thing.name.split('/', 1)[-1] for thing in alive} <= {
      'position_embedding/embeddings:0'}
  assert model.architecture == target
  assert model.metrics_names == names
  fresh = _pretrainer(target)
  assert [v.name for v in model.trainable_variables] == [
      v.name for v in fresh.trainable_variables]
  assert len(weights.named_variables(model)) == len(model.trainable_variables)
  logs = _fit(model, batch).history
  assert np.isfinite(logs['loss'][0])


def test_weight_decay_spares_norms_and_biases():
  names = {name: variable.name for name, variable in
           weights.named_variables(_pretrainer()).items()}
  for name, variable_name in names.items():
    spared = any(word in variable_name
                 for word in ('LayerNorm', 'layer_norm', 'bias'))
    assert spared == ('norm' in name or name.endswith('bias')), name


def _resumable(strategy, architecture):
  with strategy.scope():
    model = _pretrainer(architecture)
    model.compile(optimizer=tiny_bert.adamw())
  return model


def _train(model, start, stop):
  for step in range(start, stop):
    _fit(model, tiny_gpt.features(seed=step))


@pytest.mark.parametrize('on_two', [
    pytest.param(False, marks=pytest.mark.slow), True])
def test_resumed_training_is_bit_identical(on_two, tmp_path, mirrored):
  strategy = mirrored if on_two else tf.distribute.get_strategy()
  # A model that grew, and one that is built as large: same order of variables,
  # same sums, same bits.
  model = _resumable(strategy, tiny_gpt.SHALLOW_SHARED)
  with strategy.scope():
    model.replace_architecture(tiny_gpt.SHALLOW)
    model.optimizer = tiny_bert.adamw()
  _train(model, 0, 2)
  path = tf.train.Checkpoint(
      model=model, optimizer=model.optimizer, **model.checkpoint_items).save(
          str(tmp_path / 'ckpt'))
  _train(model, 2, 4)

  # Another process would have drawn other numbers by now.
  tf.random.uniform([7])
  np.random.random(5)
  resumed = _resumable(strategy, tiny_gpt.SHALLOW)
  tf.train.Checkpoint(
      model=resumed, optimizer=resumed.optimizer,
      **resumed.checkpoint_items).restore(
          path).assert_existing_objects_matched()
  _train(resumed, 2, 4)
  wanted, got = (weights.read_weights(m) for m in (model, resumed))
  for name, value in wanted.items():
    np.testing.assert_array_equal(got[name], value, err_msg=name)


def test_all_dropout_layers_share_one_state_that_growth_keeps():
  model = _pretrainer(tiny_gpt.SHARED)
  generator = model.dropout_generator
  before = generator.state.numpy()
  model(tiny_gpt.features(), training=False)
  np.testing.assert_array_equal(generator.state.numpy(), before)
  model(tiny_gpt.features(), training=True)
  after = generator.state.numpy()
  assert (after != before).any()
  model.replace_architecture(tiny_gpt.PLAIN)
  assert model.dropout_generator is generator
  np.testing.assert_array_equal(generator.state.numpy(), after)
  # Embeddings, and four a block: attention scores, attention, inner, output.
  assert dropout_state.share_generator(model, generator) == 1 + 4 * 2
