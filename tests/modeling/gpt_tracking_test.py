"""A widened GPT follows the small one, step by step, if its optimizer is told to.

With moments transferred, each weight's own step divided as the weight was, no
noise, no dropout and no clipping, Adam goes on as if nothing had happened.
"""

import numpy as np
from official.modeling.optimization import legacy_adamw
import pytest
import tensorflow as tf, tf_keras

from official_ext import growth
from official_ext import modeling
from official_ext.growth import transfer
from official_ext.modeling import weights
from tests.modeling import tiny_gpt

SMALL = tiny_gpt.PLAIN
WIDE = SMALL.replace(hidden_size=16, num_heads=4, inner_size=32)
STEPS = 50
EPSILON = 1e-6


class _AdamW(legacy_adamw.AdamWeightDecay):
  """Model Garden's, also where weights are float64."""

  def __init__(self):
    super().__init__(
        1e-3, weight_decay_rate=0.01, epsilon=EPSILON,
        exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'])

  def _prepare_local(self, var_device, var_dtype, apply_state):
    super()._prepare_local(var_device, var_dtype, apply_state)
    apply_state[var_device, var_dtype]['weight_decay_rate'] = tf.constant(
        self.weight_decay_rate, var_dtype)


class _ContinuingAdamW(_AdamW):
  """AdamW with a factor for each weight's own step and one for its epsilon.

  Weight decay, being proportional to the weight, has neither. The step is
  written out, since TensorFlow's takes one epsilon only.
  """

  def __init__(self, model, step_factors, epsilon_factors):
    super().__init__()
    self._factors = {
        variable.ref(): (step_factors[name], epsilon_factors[name])
        for name, variable in weights.named_variables(model).items()}

  def _resource_apply_dense(self, grad, var, apply_state=None):
    given = apply_state[var.device, var.dtype.base_dtype]
    step_factor, epsilon_factor = self._factors[var.ref()]
    first, second = self.get_slot(var, 'm'), self.get_slot(var, 'v')
    decay = self._decay_weights_op(var, given['lr_t'], apply_state)
    with tf.control_dependencies([decay]):
      first.assign(given['beta_1_t'] * first
                   + given['one_minus_beta_1_t'] * grad)
      second.assign(given['beta_2_t'] * second
                    + given['one_minus_beta_2_t'] * tf.square(grad))
      step = first / (tf.sqrt(second) + EPSILON * epsilon_factor)
      return var.assign_sub(given['lr'] * step_factor * step)


def _model(architecture):
  model = modeling.GrowingGptPretrainer(
      architecture, gradient_clip_norm=0, **tiny_gpt.VIVID,
      **tiny_gpt.NO_DROPOUT)
  random = np.random.default_rng(3)
  # Key biases have no gradient but rounding; from 0 they would only show that.
  weights.write_weights(model, {
      name: value + 0.2 * random.normal(size=value.shape)
      for name, value in weights.read_weights(model).items()})
  return model


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


@pytest.fixture(name='float64', autouse=True)
def _float64():
  tf_keras.mixed_precision.set_global_policy('float64')
  tf_keras.backend.set_floatx('float64')
  yield
  tf_keras.backend.set_floatx('float32')
  tf_keras.mixed_precision.set_global_policy('float32')


@pytest.mark.parametrize('is_multiplied', [True, False])
def test_a_widened_gpt_follows_the_small_one(is_multiplied):
  specs = growth.weight_specs(WIDE)
  maps = growth.maps_between(SMALL, WIDE)
  small = _model(SMALL)
  small.compile(optimizer=_AdamW())
  _fit(small, 0, 3)
  start = weights.read_weights(small)
  wide = _model(WIDE)
  weights.write_weights(
      wide, growth.grow(start, SMALL, WIDE, noise_scale=0))
  step_factors = growth.learning_rate_multipliers(specs, maps)
  # A gradient's share among copies is its moments' root's too, and so must be
  # epsilon's.
  epsilon_factors = transfer.grow_gradients(
      {name: np.ones_like(value) for name, value in start.items()}, specs, maps)
  wide.compile(optimizer=_ContinuingAdamW(
      wide, step_factors if is_multiplied else dict.fromkeys(specs, 1.0),
      epsilon_factors))
  weights.write_moments(wide.optimizer, wide, *growth.grow_moments(
      *weights.read_moments(small.optimizer, small), SMALL, WIDE))
  wide.optimizer.iterations.assign(small.optimizer.iterations)

  small_loss, wide_loss = (_fit(model, 3, STEPS) for model in (small, wide))
  end = weights.read_weights(small)
  difference = _largest_relative_difference(
      weights.read_weights(wide),
      growth.grow(end, SMALL, WIDE, noise_scale=0))
  assert int(wide.optimizer.iterations) == 3 + STEPS
  assert (difference < 1e-9) == is_multiplied, difference
  # Losses are computed in float32.
  assert (abs(wide_loss / small_loss - 1) < 1e-6) == is_multiplied
  # What was followed did move.
  assert _largest_relative_difference(end, start) > 0.03
