"""Training of a part of the model: what changes, what it costs, who draws."""

import numpy as np
import pytest
import tensorflow as tf, tf_keras

from official_ext import modeling
from official_ext.modeling import trained_part
from official_ext.modeling import weights
from tests.modeling import tiny_bert

_TWO = tiny_bert.PLAIN
_THREE = _TWO.replace(num_layers=3)
_HEAD = ('embeddings/word', 'masked_lm/', 'next_sentence/')
# Draws both of two depths within two steps.
_MIXED_SEED = 0
_UNEVEN = dict(lengths=[16, 16, 9, 7], counts=[4, 4, 2, 1])


def _pretrainer(architecture=_TWO, *, optimizer=None, dropout=False,
                strategy=None, **compile_options):
  with (strategy or tf.distribute.get_strategy()).scope():
    model = modeling.GrowingBertPretrainer(
        architecture, **({} if dropout else tiny_bert.NO_DROPOUT))
    model.compile(
        optimizer=optimizer or tiny_bert.adamw(), **compile_options)
    weights.create_moments(model.optimizer, model)
  return model


def _fit(model, steps=1, batch=None, **options):
  batch = batch or tiny_bert.features(**_UNEVEN)
  return model.fit(tf.data.Dataset.from_tensors(batch).repeat(steps),
                   steps_per_epoch=steps, verbose=0, **options).history


def _state(model):
  """Every weight with its moments: name -> three arrays."""
  first, second = weights.read_moments(model.optimizer, model)
  return {name: (value, first[name], second[name])
          for name, value in weights.read_weights(model).items()}


def _changed(before, after):
  """Names of which anything changed; a moment never changes alone."""
  changed = set()
  for name, values in before.items():
    parts = {bool((new != old).any()) for old, new in zip(values, after[name])}
    if True in parts:
      changed.add(name)
      assert parts == {True}, name
  return changed


def _expected(names, layers):
  prefixes = _HEAD + tuple(f'layer_{layer}/' for layer in layers)
  return {name for name in names if name.startswith(prefixes)}


@pytest.mark.parametrize('trained_layers, query_pool_size', [
    (1, 1), (2, 2), (3, 1), (3, 2)])
def test_the_top_blocks_and_the_heads_change_and_nothing_else(
    trained_layers, query_pool_size):
  model = _pretrainer(
      _THREE.replace(query_pool_size=query_pool_size), run_eagerly=True)
  model.set_trained_part(trained_layers=trained_layers)
  before = _state(model)
  _fit(model)
  assert _changed(before, _state(model)) == _expected(
      before, range(3 - trained_layers, 3))
  model.set_trained_part()
  before = _state(model)
  _fit(model)
  # The encoder's own pooler feeds no loss.
  assert _changed(before, _state(model)) == {
      name for name in before if not name.startswith('pooler/')}


@pytest.mark.parametrize('query_pool_size', [1, 2])
def test_gradients_are_those_of_the_whole_model(query_pool_size):
  """By the decay of the moments: after one step m is (1 - beta_1) gradient."""
  architecture = _THREE.replace(query_pool_size=query_pool_size)
  start, moments = None, {}
  for trained_layers in (None, 2):
    model = _pretrainer(architecture, run_eagerly=True)
    model.gradient_clip_norm = 0
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    model.set_trained_part(trained_layers=trained_layers)
    _fit(model)
    moments[trained_layers], _ = weights.read_moments(model.optimizer, model)
  for name in _expected(start, (1, 2)) - {'embeddings/word'}:
    np.testing.assert_allclose(
        moments[2][name], moments[None][name], rtol=1e-4, atol=1e-7,
        err_msg=name)
  # The word embedding lacks what came through the blocks below.
  assert np.abs(moments[2]['embeddings/word']
                - moments[None]['embeddings/word']).max() > 1e-4


@pytest.mark.parametrize('kind', ['pooled', 'mirrored', 'xla'])
def test_a_sub_model_step_equals_one_of_a_really_smaller_model(kind, mirrored):
  architecture = _TWO.replace(query_pool_size=1 + (kind == 'pooled'))
  model = _pretrainer(
      architecture, strategy=mirrored if kind == 'mirrored' else None,
      jit_compile=kind == 'xla')
  model.set_trained_part(sub_model_layers=1, seed=_MIXED_SEED)
  depths = []
  for step in range(2):
    depth = int(model.drawn_depth(step))
    depths.append(depth)
    before = _state(model)
    small = _pretrainer(
        architecture.replace(num_layers=depth), run_eagerly=True)
    names = weights.read_weights(small)
    weights.write_weights(small, {name: before[name][0] for name in names})
    weights.write_moments(small.optimizer, small, *(
        {name: before[name][index] for name in names} for index in (1, 2)))
    small.optimizer.iterations.assign(step)
    small.set_trained_part(trained_layers=1)

    logs, expected_logs = _fit(model), _fit(small)
    for name, values in expected_logs.items():
      assert logs[name] == pytest.approx(values, abs=1e-5), (step, name)
    after, expected = _state(model), _state(small)
    assert _changed(before, after) == _expected(
        before, range(depth - 1, depth))
    for name, values in expected.items():
      for got, wanted in zip(after[name], values):
        np.testing.assert_allclose(
            got, wanted, atol=2e-4 if kind == 'xla' else 2e-5, err_msg=name)
  assert set(depths) == {1, 2}


def test_steps_per_execution_change_nothing_and_branches_are_traced_once():
  models, start = [], None
  for steps_per_execution in (1, 2):
    model = _pretrainer(steps_per_execution=steps_per_execution, dropout=True)
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    model.set_trained_part(sub_model_layers=1, seed=_MIXED_SEED)
    models.append(model)
    traced = []

    def forward(*args, forward=model.forward, traced=traced, **kwargs):
      traced.append(kwargs['num_layers'])
      return forward(*args, **kwargs)

    model.forward = forward
    _fit(model, steps=4)
    assert sorted(traced) == [1, 2]
    assert int(model.optimizer.iterations) == 4
  one, two = (_state(model) for model in models)
  for name, values in one.items():
    for first, second in zip(values, two[name]):
      np.testing.assert_array_equal(first, second, err_msg=name)


def test_resuming_among_sub_models_is_bit_identical(tmp_path):
  def build():
    model = _pretrainer(dropout=True)
    model.set_trained_part(sub_model_layers=1)
    return model, tf.train.Checkpoint(model=model, optimizer=model.optimizer)

  model, checkpoint = build()
  for step in range(3):
    _fit(model, batch=tiny_bert.features(seed=step))
  path = checkpoint.save(str(tmp_path / 'ckpt'))
  resumed, checkpoint = build()
  checkpoint.restore(path).assert_existing_objects_matched()
  for step in range(3, 6):
    for each in (model, resumed):
      _fit(each, batch=tiny_bert.features(seed=step))
  wanted, got = _state(model), _state(resumed)
  for name, values in wanted.items():
    for first, second in zip(values, got[name]):
      np.testing.assert_array_equal(first, second, err_msg=name)


def test_draws_are_uniform_and_follow_from_seed_and_step():
  @tf.function
  def draws(seed):
    return tf.map_fn(
        lambda step: trained_part.drawn_index(seed, step, 4),
        tf.range(4000, dtype=tf.int64), fn_output_signature=tf.int32)

  first, again, other = (draws(seed).numpy() for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert (first != other).mean() == pytest.approx(0.75, abs=0.03)
  # 1000 each, give or take five standard deviations.
  assert np.abs(np.bincount(first) - 1000).max() < 5 * np.sqrt(750)
  # Nor does one draw tell the next.
  pairs = np.bincount(4 * first[:-1] + first[1:], minlength=16)
  assert np.abs(pairs - 250).max() < 5 * np.sqrt(235)
  assert int(trained_part.drawn_index(0, 7, 4)) == first[7]


def test_depths():
  assert trained_part.TrainedPart(sub_model_layers=3).depths(12) == (3, 6, 9, 12)
  assert trained_part.TrainedPart(sub_model_layers=5).depths(12) == (5, 10, 12)
  assert trained_part.TrainedPart(sub_model_layers=4).depths(4) == (4,)


def test_evaluation_is_of_the_whole_model():
  model = _pretrainer()
  data = tf.data.Dataset.from_tensors(tiny_bert.features())
  whole = model.evaluate(data, verbose=0)
  model.set_trained_part(sub_model_layers=1)
  assert model.evaluate(data, verbose=0) == whole


def _num_products(model, num_layers, trained_layers):
  """Matrix products in the graph of one step."""
  features = tiny_bert.features()

  @tf.function
  def step():
    model.train_part(features, num_layers, trained_layers)

  operations = step.get_concrete_function().graph.get_operations()
  return sum(operation.type in ('MatMul', 'BatchMatMulV2', 'Einsum')
             for operation in operations)


def test_frozen_blocks_have_no_backward_pass():
  model = _pretrainer(_THREE)
  products = {key: _num_products(model, *key) for key in (
      (3, None), (3, 3), (3, 1), (2, 1), (1, 1))}
  forward_of_a_block = products[3, 1] - products[2, 1]
  assert products[2, 1] - products[1, 1] == forward_of_a_block
  # Backwards, every product of a block becomes two.
  assert products[3, 3] - products[3, 1] == 2 * 2 * forward_of_a_block
  assert products[3, None] >= products[3, 3]
  assert 6 <= forward_of_a_block <= 8


@pytest.mark.parametrize('arguments, message', [
    (dict(trained_layers=5), 'set_trained_part: trained_layers is 5; give a '
     "whole number from 1 to the model's 2 blocks."),
    (dict(sub_model_layers=0), 'set_trained_part: sub_model_layers is 0; give '
     "a whole number from 1 to the model's 2 blocks."),
    (dict(trained_layers=1, sub_model_layers=1),
     'set_trained_part: trained_layers 1 and sub_model_layers 1 exclude each '
     'other; drop one.'),
])
def test_refusals(arguments, message):
  model = modeling.GrowingBertPretrainer(tiny_bert.PLAIN)
  with pytest.raises(ValueError) as error:
    model.set_trained_part(**arguments)
  assert str(error.value) == message


def test_growth_trains_the_whole_model_again_and_other_optimizers_do():
  model = modeling.GrowingBertPretrainer(_TWO)
  model.compile(optimizer=tf_keras.optimizers.Adam(1e-2))
  model.set_trained_part(sub_model_layers=1)
  _fit(model, 2)
  assert int(model.optimizer.iterations) == 2
  model.replace_architecture(_THREE)
  assert model.trained_part == trained_part.TrainedPart()
