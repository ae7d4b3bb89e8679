"""Goes on after a growth as if there had been none; a test mode.

A grown model's weights are the small model's, those with an in-axis divided by
the number of copies, `w' = w / c_in`; its gradients are the small model's
divided along the out-axis, `g' = g / c_out`. Adam's step does not see the scale
of the gradient, so that it is right for `w` and `c_in` times too large for
`w'`. With moments that were transferred, `m' = m / c_out` and
`v' = v / c_out^2`,

    w' <- w' - lr / c_in * m' / (sqrt(v') + epsilon / c_out)

is the small model's step, exactly, epsilon included. The grown model then
computes what the small one would have computed, for ever: a strict test of a
growth, and no way to use what was grown.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from official.modeling.optimization import legacy_adamw
import tensorflow as tf
import tf_keras

from official_ext.growth import GrowthMaps
from official_ext.growth import learning_rate_multipliers
from official_ext.growth import WeightSpec
from official_ext.modeling import weights as weights_lib


class Scales(NamedTuple):
  """What one weight's step is scaled by; both broadcast against the weight."""
  step: np.ndarray  # 1 / c_in, on Adam's own step.
  epsilon: np.ndarray  # 1 / c_out, on epsilon.


def continuation_scales(
    specs: Mapping[str, WeightSpec], maps: GrowthMaps) -> dict[str, Scales]:
  """The scales by which a grown model goes on exactly.

  Args:
    specs: `weight_specs` of the grown architecture.
    maps: from the architecture that is to be followed; after several growths
      all of them, one `then` the other.

  Returns:
    Canonical name -> scales.
  """
  steps = learning_rate_multipliers(specs, maps)
  scales = {}
  for name, spec in specs.items():
    epsilon = np.ones([1] * len(spec.shape))
    for position, axis in enumerate(spec.axes):
      unit_map = maps.unit_map(name, axis)
      if axis.role == 'out' and unit_map is not None:
        shape = [1] * len(spec.shape)
        shape[position] = -1
        epsilon = epsilon * np.reshape(unit_map.shares, shape)
    scales[name] = Scales(steps[name], epsilon)
  return scales


class ContinuingAdamWeightDecay(legacy_adamw.AdamWeightDecay):
  """`AdamWeightDecay` with scaled steps; the same as it without scales.

  Decoupled weight decay is proportional to the weight and takes no scale.
  Clipping by the global norm has to be off, here and in the model: copies
  change the norm. The scales are slots, and so part of checkpoints.
  """

  _STEP, _EPSILON = 'step_scale', 'epsilon_scale'

  def set_scales(self, model: tf_keras.Model, scales: Mapping[str, Scales]
                 ) -> None:
    """Sets the scales of all weights. Call under the strategy's scope.

    Args:
      model: the grown model.
      scales: from `continuation_scales`, one for each weight.

    Raises:
      ValueError: a weight has no scales.
    """
    variables = weights_lib.named_variables(model)
    missing = [name for name in variables if name not in scales]
    if missing:
      raise ValueError(
          f'set_scales: no scales for {", ".join(missing)}; give one a weight.')
    for name, variable in variables.items():
      for slot, value in zip((self._STEP, self._EPSILON), scales[name]):
        self.add_slot(variable, slot, shape=value.shape).assign(value)

  def _prepare_local(self, var_device, var_dtype, apply_state):
    super()._prepare_local(var_device, var_dtype, apply_state)
    # The parent's is float32, which no other width can be multiplied by.
    apply_state[(var_device, var_dtype)]['weight_decay_rate'] = tf.constant(
        self.weight_decay_rate, var_dtype)

  def _resource_apply_dense(self, grad, var, apply_state=None):
    key = (var.device, var.dtype.base_dtype)
    coefficients = ((apply_state or {}).get(key)
                    or self._fallback_apply_state(*key))
    decay = self._decay_weights_op(
        var, coefficients['lr_t'], {key: coefficients})
    first, second = self.get_slot(var, 'm'), self.get_slot(var, 'v')
    with tf.control_dependencies([decay]):
      mean = first.assign(
          coefficients['beta_1_t'] * first
          + coefficients['one_minus_beta_1_t'] * grad)
      mean_square = second.assign(
          coefficients['beta_2_t'] * second
          + coefficients['one_minus_beta_2_t'] * tf.square(grad))
      step = self._scale(var, self._STEP) * coefficients['lr'] * mean / (
          tf.sqrt(mean_square)
          + self._scale(var, self._EPSILON) * coefficients['epsilon'])
      return var.assign_sub(step, use_locking=self._use_locking)

  def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
    dense = tf.IndexedSlices(grad, indices, tf.shape(var))
    return self._resource_apply_dense(
        tf.convert_to_tensor(dense), var, apply_state)

  def _scale(self, var, slot: str) -> tf.Tensor:
    if slot not in self.get_slot_names():
      return tf.ones([], var.dtype)
    return tf.convert_to_tensor(self.get_slot(var, slot))
