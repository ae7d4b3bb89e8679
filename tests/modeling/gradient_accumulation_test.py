"""Micro-batches: the gradients of the whole batch, in a graph of one of them."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf, tf_keras

from official_ext import modeling
from official_ext.growth.architecture import Architecture
from official_ext.modeling import weights
from official_ext.training import exact_continuation
from tests.modeling import tiny_bert
from tests.modeling import tiny_gpt

_LENGTHS = [16, 16, 9, 7, 12, 5, 16, 11]
# Micro-batches with other numbers of masked tokens, one of them with hardly any.
_COUNTS = [4, 4, 2, 1, 3, 4, 0, 1]


def _features(architecture):
  if architecture.family == 'gpt':
    return tiny_gpt.features(8, lengths=_LENGTHS)
  return tiny_bert.features(8, lengths=_LENGTHS, counts=_COUNTS)


def _adamw():
  # Unlike Model Garden's it decays float64 weights.
  return exact_continuation.ContinuingAdamWeightDecay(
      1e-2, weight_decay_rate=0.01, epsilon=1e-6,
      exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'])


def _pretrainer(architecture, num_parts, *, strategy=None, optimizer=None,
                compiled=None, part=None, **options):
  with (strategy or tf.distribute.get_strategy()).scope():
    model = modeling.build_pretrainer(
        architecture, gradient_accumulation_steps=num_parts,
        initializer_stddev=0.3, **{**tiny_bert.NO_DROPOUT, **options})
    model.compile(optimizer=optimizer or _adamw(), **(compiled or {}))
    if optimizer is None:
      weights.create_moments(model.optimizer, model)
    if part:
      model.set_trained_part(**part)
  return model


def _fit(model, steps=1):
  features = _features(model.architecture)
  return model.fit(tf.data.Dataset.from_tensors(features).repeat(steps),
                   steps_per_epoch=steps, verbose=0).history


def _assert_alike(got, wanted, case):
  """Within 1e-12 of the largest number of each array."""
  assert got.keys() == wanted.keys()
  for name, values in wanted.items():
    # Its gradient is 0, and rounding is all there is.
    if not name.endswith('key/bias'):
      np.testing.assert_allclose(
          got[name], values, rtol=0, atol=1e-12 * np.abs(values).max(),
          err_msg=f'{case}: {name}')


_CASES = {
    'bert': dict(),
    'no next sentence': dict(use_next_sentence=False),
    'pooled queries, shared FFN': dict(architecture=tiny_bert.SHALLOW_TREATED),
    'weighted LayerNorm': dict(
        architecture=tiny_bert.SHALLOW.replace(norm_source_size=6)),
    'gpt': dict(architecture=tiny_gpt.SHALLOW),
    'gpt, shared FFN': dict(architecture=tiny_gpt.SHALLOW_SHARED),
    'top layers': dict(
        architecture=tiny_bert.PLAIN, part=dict(trained_layers=1)),
    'top layers, gpt': dict(
        architecture=tiny_gpt.PLAIN, part=dict(trained_layers=1)),
    'sub-models': dict(
        architecture=tiny_bert.PLAIN, part=dict(sub_model_layers=1)),
    'xla': dict(compiled=dict(jit_compile=True)),
    'xla, pooled queries, sub-models': dict(
        architecture=tiny_bert.TREATED, part=dict(sub_model_layers=1),
        compiled=dict(jit_compile=True)),
    'eager': dict(compiled=dict(run_eagerly=True)),
    'two replicas': dict(num_parts=2, mirrored=True),
    'two replicas, sub-models': dict(
        architecture=tiny_bert.PLAIN, num_parts=2, mirrored=True,
        part=dict(sub_model_layers=1)),
}


@pytest.mark.usefixtures('float64_losses')
@pytest.mark.parametrize('case', _CASES)
def test_gradients_and_metrics_are_those_of_the_whole_batch(case, mirrored):
  options = dict(_CASES[case])
  architecture = options.pop('architecture', tiny_bert.SHALLOW)
  num_parts = options.pop('num_parts', 4)
  strategy = mirrored if options.pop('mirrored', False) else None
  whole = _pretrainer(architecture, 1, **options)
  parts = _pretrainer(architecture, num_parts, strategy=strategy, **options)
  start = weights.read_weights(whole)
  weights.write_weights(parts, start)
  logs, parts_logs = _fit(whole), _fit(parts)

  # After one step the first moment is (1 - beta_1) times the clipped gradient.
  (first, second), (parts_first, parts_second) = (
      weights.read_moments(model.optimizer, model) for model in (whole, parts))
  assert first['embeddings/word'].dtype == np.float64
  _assert_alike(parts_first, first, case)
  _assert_alike(parts_second, second, case)
  changed, parts_changed = (
      {name for name, value in weights.read_weights(model).items()
       if (value != start[name]).any()} for model in (whole, parts))
  # What has no gradient does not even decay.
  assert parts_changed == changed and len(changed) > 10
  assert 'pooler/kernel' not in changed
  for name, values in logs.items():
    assert parts_logs[name] == pytest.approx(values, rel=1e-6), name
  assert int(parts.optimizer.iterations.numpy()) == 1
  assert parts.non_finite_watch.first_step is None
  if parts.norm_annealing is not None:
    assert int(parts.norm_annealing.step.numpy()) == 1


@pytest.mark.usefixtures('float64_losses')
@pytest.mark.parametrize('architecture', [tiny_bert.SHALLOW, tiny_gpt.SHALLOW])
def test_many_steps_in_one_execution_come_to_the_same_weights(architecture):
  start, after = None, []
  for num_parts, steps_per_execution in ((1, 1), (2, 3)):
    model = _pretrainer(
        architecture, num_parts, optimizer=tf_keras.optimizers.SGD(0.1),
        compiled=dict(steps_per_execution=steps_per_execution))
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    _fit(model, 6)
    after.append(weights.read_weights(model))
    assert int(model.optimizer.iterations) == 6
  _assert_alike(after[1], after[0], architecture.family)


def _traced(num_parts, architecture=tiny_bert.SHALLOW):
  """How often a step's forward pass is traced, and the step's graph."""
  model = _pretrainer(architecture, num_parts)
  traced = []
  forward = model.forward
  model.forward = lambda *args, **options: (
      traced.append(args[0]['input_word_ids'].shape), forward(*args, **options)
  )[1]
  step = tf.function(lambda features: model.train_part(features, None, None))
  graph = step.get_concrete_function(_features(architecture)).graph
  return traced, graph


def _num_operations(graph):
  return len(graph.get_operations()) + sum(
      len(function.node_def) for function in
      graph.as_graph_def().library.function)


def test_the_graph_is_that_of_one_micro_batch_with_static_shapes():
  (traced_of_2, of_2), (traced_of_8, of_8) = _traced(2), _traced(8)
  assert traced_of_2 == [(4, 16)] and traced_of_8 == [(1, 16)]
  assert _num_operations(of_2) == _num_operations(of_8)
  _, whole = _traced(1)
  assert _num_operations(of_8) < 1.5 * _num_operations(whole)


def test_a_compiled_step_is_traced_once_however_long_the_run():
  model = _pretrainer(tiny_bert.SHALLOW, 2, output_dropout=0.1)
  traced = []
  forward = model.forward
  model.forward = lambda *args, **options: (
      traced.append(1), forward(*args, **options))[1]
  _fit(model, 2)
  _fit(model, 3)
  assert len(traced) == 1


def test_every_micro_batch_draws_its_own_masks():
  # Halves that are alike have gradients that are alike, but for their masks.
  half = tiny_bert.features(2)
  features = {name: tf.concat([value, value], 0) for name, value in half.items()}
  advanced, seen = [], []
  for num_parts in (1, 2):
    model = _pretrainer(tiny_bert.SHALLOW, num_parts, output_dropout=0.5,
                        compiled=dict(run_eagerly=True))
    forward = model.forward

    def record(*args, forward=forward, **options):
      outputs = forward(*args, **options)
      seen.append(outputs['mlm_logits'].numpy())
      return outputs

    model.forward = record
    before = model.dropout_generator.state.numpy()
    model.fit(tf.data.Dataset.from_tensors(features), verbose=0)
    advanced.append(model.dropout_generator.state.numpy()[0] - before[0])
  assert advanced[1] == 2 * advanced[0] > 0
  _, first, second = seen
  assert first.shape == second.shape == (2, tiny_bert.PREDICTIONS, 50)
  assert np.abs(first - second).max() > 0.1


def test_a_loss_that_is_not_finite_in_any_micro_batch_is_noticed():
  model = _pretrainer(tiny_bert.SHALLOW, 4)
  features = _features(tiny_bert.SHALLOW)
  weight = features['masked_lm_weights'].numpy()
  weight[5, 0] = np.nan
  good = tf.data.Dataset.from_tensors(features)
  bad = tf.data.Dataset.from_tensors(
      {**features, 'masked_lm_weights': tf.constant(weight)})
  noticed = []
  model.fit(good.concatenate(bad), verbose=0, callbacks=[
      tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: noticed.append(
          model.non_finite_watch.first_step))])
  assert noticed == [2]


@pytest.mark.parametrize('architecture, options', [
    (tiny_bert.SHALLOW, {}), (tiny_bert.SHALLOW, dict(use_next_sentence=False)),
    (tiny_gpt.SHALLOW, {})])
def test_weights_from_the_features_are_those_of_the_sums(architecture, options):
  model = _pretrainer(architecture, 1, **options)
  features = _features(architecture)
  sums = model.loss_sums(features, model.forward(features, False))
  assert [float(weight) for weight in model.loss_weights(features)] == [
      float(each.weight) for each in sums if each is not None]


def test_a_growth_releases_the_weights_that_the_loop_read():
  model = _pretrainer(tiny_bert.SHALLOW_TREATED, 2, output_dropout=0.1)
  _fit(model)
  old = [weakref.ref(variable) for variable in model.trainable_variables]
  model.replace_architecture(tiny_bert.SHALLOW)
  model.optimizer = _adamw()
  model.history = None
  gc.collect()
  # That one stays without a loop, too, see `pretrainer_test`.
  assert {ref().name.split('/', 1)[-1] for ref in old if ref() is not None} <= {
      'position_embedding/embeddings:0'}
  assert np.isfinite(_fit(model)['loss'][0])


def test_refusals_and_config():
  with pytest.raises(ValueError) as error:
    modeling.build_pretrainer(tiny_bert.SHALLOW, gradient_accumulation_steps=0)
  assert str(error.value) == (
      'gradient_accumulation_steps is 0; give a whole number of at least 1.')
  with pytest.raises(ValueError, match=(
      '8 sequences on a replica, which cannot be divided into 3 micro-batches '
      r'\(gradient_accumulation_steps\); give a batch that is a multiple of')):
    _fit(_pretrainer(tiny_bert.SHALLOW, 3))
  for architecture in (tiny_bert.SHALLOW, tiny_gpt.SHALLOW):
    model = _pretrainer(architecture, 2)
    again = type(model).from_config(model.get_config())
    assert again.gradient_accumulation_steps == 2
    assert Architecture(**again.get_config()['architecture']) == architecture
