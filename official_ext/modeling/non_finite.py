"""Remembers, on the device, the step at which the loss stopped being finite."""

from collections.abc import Iterable

import tensorflow as tf


def all_finite(variables: Iterable[tf.Variable]) -> bool:
  """Whether no value of any variable is NaN or infinite."""
  return all(bool(tf.reduce_all(tf.math.is_finite(variable)))
             for variable in variables)


class NonFiniteWatch(tf.Module):
  """Counts steps and keeps the first whose loss was NaN or infinite.

  Asking the host at every step would stop the device each time; this needs to
  be read only once an interval.
  """

  def __init__(self):
    super().__init__(name='non_finite_watch')
    self._steps, self._first = (
        tf.Variable(
            0, trainable=False, dtype=tf.int64,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        for _ in range(2))

  def update(self, loss: tf.Tensor) -> None:
    """Takes the loss of one step, the same on every replica."""
    self._steps.assign_add(1)
    is_first = tf.logical_and(
        tf.equal(self._first, 0), tf.logical_not(tf.math.is_finite(loss)))
    self._first.assign(
        tf.where(is_first, tf.identity(self._steps), tf.identity(self._first)))

  def reset(self) -> None:
    self._steps.assign(0)
    self._first.assign(0)

  @property
  def first_step(self) -> int | None:
    """Steps since the last reset up to the first bad one; None if all are good."""
    return int(self._first.numpy()) or None
