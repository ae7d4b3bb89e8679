"""A batch in parts trains as the batch in one piece."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from official_ext.growth import Architecture
from official_ext.modeling import build_pretrainer
from official_ext.modeling import weights as weights_lib

SEQUENCE, PREDICTIONS, BATCH = 12, 3, 12
SIZES = dict(num_layers=2, hidden_size=8, num_heads=2, inner_size=16,
             vocab_size=30, max_positions=SEQUENCE)
BERT, GPT = Architecture(**SIZES), Architecture(family='gpt', **SIZES)

CASES = {
    'bert': (BERT, {}, {}),
    'bert, next sentence': (BERT, {'use_next_sentence': True}, {}),
    'bert, pooled and shared': (
        BERT.replace(query_pool_size=2, ffn_sharing=2), {}, {}),
    'bert, top layer': (BERT, {}, {'trained_layers': 1}),
    'bert, sub-models': (BERT, {}, {'sub_model_layers': 1, 'seed': 3}),
    'gpt': (GPT, {}, {}),
    'gpt, top layer': (GPT, {}, {'trained_layers': 1}),
}


def batch(is_gpt):
  rng = np.random.default_rng(1)
  # Rows differ in how much of them counts: a mean of means would be wrong.
  lengths = rng.integers(4, SEQUENCE + 1, BATCH)
  mask = (np.arange(SEQUENCE) < lengths[:, None]).astype(np.int32)
  words = rng.integers(5, 30, (BATCH, SEQUENCE)).astype(np.int32) * mask
  features = {'input_word_ids': words, 'input_mask': mask}
  if not is_gpt:
    weights = (np.arange(PREDICTIONS) < rng.integers(1, 4, BATCH)[:, None])
    features |= {
        'input_type_ids': np.zeros_like(words),
        'masked_lm_positions': np.sort(np.stack([
            1 + rng.permutation(length - 1)[:PREDICTIONS]
            for length in lengths]), axis=1).astype(np.int32) * weights,
        'masked_lm_ids': rng.integers(
            5, 30, (BATCH, PREDICTIONS)).astype(np.int32),
        'masked_lm_weights': weights.astype(np.float32),
        'next_sentence_labels': rng.integers(0, 2, (BATCH, 1)).astype(np.int32)}
  return {name: tf.constant(value) for name, value in features.items()}


def trained(architecture, options, part, num_parts, *, steps=3, dropout=0.0,
            strategy=None, **compiled):
  """Weights, metrics and slot values after some steps of gradient descent."""
  tf_keras.utils.set_random_seed(0)
  strategy = strategy or tf.distribute.get_strategy()
  options = ({'use_next_sentence': False} if architecture.family == 'bert'
             else {}) | options
  features = batch(architecture.family == 'gpt')
  with strategy.scope():
    model = build_pretrainer(
        architecture, output_dropout=dropout, attention_dropout=dropout,
        gradient_accumulation_steps=num_parts, gradient_clip_norm=0.5,
        initializer_stddev=0.2, **options)
    # Plain gradient descent shows the gradients themselves.
    model.compile(
        optimizer=tf_keras.optimizers.legacy.SGD(0.3), **compiled)
  model.set_trained_part(**part)
  data = tf.data.Dataset.from_tensors(features).repeat().unbatch().batch(
      BATCH, drop_remainder=True)
  model.fit(strategy.experimental_distribute_dataset(data),
            steps_per_epoch=steps, verbose=0)
  metrics = {metric.name: float(metric.result()) for metric in model.metrics}
  return {name: value.numpy() for name, value in
          weights_lib.named_variables(model).items()}, metrics


def assert_same(one, other, tolerance=2e-6):
  for name in one[0]:
    np.testing.assert_allclose(
        one[0][name], other[0][name], rtol=0, atol=tolerance, err_msg=name)
  for name in one[1]:
    assert one[1][name] == pytest.approx(other[1][name], abs=1e-5), name


# A fast sibling for each kind; the rest is slow.
_FAST = ('bert, next sentence', 'bert, sub-models', 'gpt')


@pytest.mark.parametrize('case', [
    pytest.param(case, id=name,
                 marks=[] if name in _FAST else pytest.mark.slow)
    for name, case in CASES.items()])
def test_parts_are_the_whole_batch(case):
  whole = trained(*case, 1)
  assert_same(trained(*case, 3), whole)
  start = trained(*case, 1, steps=1)
  assert any(np.abs(start[0][name] - whole[0][name]).max() > 1e-3
             for name in whole[0])


def test_to_rounding_in_float64():
  policy = tf_keras.mixed_precision.global_policy()
  tf_keras.mixed_precision.set_global_policy('float64')
  try:
    whole = trained(*CASES['gpt'], 1)
    parts = trained(*CASES['gpt'], 4)
  finally:
    tf_keras.mixed_precision.set_global_policy(policy)
  assert all(value.dtype == np.float64 for value in whole[0].values())
  # The loss itself is summed in float32.
  assert_same(parts, whole, 1e-7)


@pytest.mark.parametrize('compiled', [
    {'jit_compile': True},
    pytest.param({'steps_per_execution': 3}, marks=pytest.mark.slow)], ids=str)
def test_however_it_is_compiled(compiled):
  case = CASES['bert']
  assert_same(trained(*case, 3, **compiled), trained(*case, 1))


def test_over_replicas(mirrored):
  case = CASES['bert, next sentence']
  assert_same(trained(*case, 3, strategy=mirrored), trained(*case, 1))


def test_every_part_draws_its_own_dropout():
  case = CASES['bert']
  once = trained(*case, 3, dropout=0.2)
  again = trained(*case, 3, dropout=0.2)
  assert_same(once, again, 0)
  whole = trained(*case, 1, dropout=0.2)
  assert any(np.abs(once[0][name] - whole[0][name]).max() > 1e-4
             for name in whole[0])


def test_no_parts_are_refused():
  with pytest.raises(ValueError, match='gradient_accumulation_steps is 0'):
    build_pretrainer(BERT, gradient_accumulation_steps=0)
