"""A widened GPT follows the small one, step by step, if its optimizer is told.

With moments transferred, each weight's own step divided as the weight was, no
noise, no dropout and no clipping, Adam goes on as if nothing had happened.
"""

import numpy as np
import pytest
import tensorflow as tf

from official_ext import growth
from official_ext.modeling import weights
from official_ext.training import exact_continuation
from tests.modeling import tiny_gpt

STEPS = 50


def _optimizer(epsilon):
  return exact_continuation.ContinuingAdamWeightDecay(
      1e-3, weight_decay_rate=0.01, epsilon=epsilon,
      exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'])


def _model(architecture):
  return tiny_gpt.pretrainer(
      architecture, gradient_clip_norm=0, **tiny_gpt.NO_DROPOUT)


def _fit(model, first_seed, steps):
  batches = [tiny_gpt.features(seed=first_seed + step, lengths=[16, 16, 9, 7])
             for step in range(steps)]
  dataset = tf.data.Dataset.from_tensor_slices(
      {name: tf.stack([batch[name] for batch in batches])
       for name in batches[0]})
  return model.fit(dataset, verbose=0).history['loss'][0]


def _largest_relative_difference(got, expected):
  return max(
      np.abs(got[name] - expected[name]).max() / np.abs(expected[name]).max()
      for name in expected)


@pytest.mark.usefixtures('float64')
# An epsilon of the size of the gradients shows whether it is scaled. A block
# widens like any other: two of them where everything is exact, once.
@pytest.mark.parametrize('epsilon, is_scaled, num_layers', [
    (1e-6, True, 2), (1e-2, True, 1), (1e-6, False, 1)])
def test_a_widened_gpt_follows_the_small_one(epsilon, is_scaled, num_layers):
  source = tiny_gpt.PLAIN.replace(num_layers=num_layers)
  target = source.replace(hidden_size=16, num_heads=4, inner_size=32)
  small = _model(source)
  small.compile(optimizer=_optimizer(epsilon))
  _fit(small, 0, 3)
  start = weights.read_weights(small)
  wide = _model(target)
  weights.write_weights(
      wide, growth.grow(start, source, target, noise_scale=0))
  wide.compile(optimizer=_optimizer(epsilon))
  weights.write_moments(wide.optimizer, wide, *growth.grow_moments(
      *weights.read_moments(small.optimizer, small), source, target))
  wide.optimizer.iterations.assign(small.optimizer.iterations)
  if is_scaled:
    wide.optimizer.set_scales(wide, exact_continuation.continuation_scales(
        growth.weight_specs(target), growth.maps_between(source, target)))

  small_loss, wide_loss = (_fit(model, 3, STEPS) for model in (small, wide))
  end = weights.read_weights(small)
  difference = _largest_relative_difference(
      weights.read_weights(wide),
      growth.grow(end, source, target, noise_scale=0))
  assert int(wide.optimizer.iterations) == 3 + STEPS
  assert (difference < 1e-9) == is_scaled, difference
  # Losses are computed in float32.
  assert (abs(wide_loss / small_loss - 1) < 1e-6) == is_scaled
  # What was followed did move.
  assert _largest_relative_difference(end, start) > 0.03
