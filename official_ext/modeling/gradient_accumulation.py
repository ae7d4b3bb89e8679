"""Gradients of a batch that is run in parts, one after another."""

from collections.abc import Callable, Sequence

import tensorflow as tf

# What XLA calls the loop.
LOOP_NAME = 'micro_batches'
# The loss of a part `[]`, and the dense gradient of each variable, None where
# the loss does not depend on it.
LossAndGradients = tuple[tf.Tensor, list[tf.Tensor | None]]


def add_up(
    compute: Callable[[dict[str, tf.Tensor]], LossAndGradients],
    features: dict[str, tf.Tensor], variables: Sequence[tf.Variable],
    num_parts: int, *, loss_dtype: tf.DType) -> LossAndGradients:
  """Adds up the losses and gradients of the parts of a batch.

  A loop in the graph: its size and its activations are those of one part. The
  sums are kept by the loop and not in variables, so checkpoints do not change.

  Args:
    compute: takes the features of one part, and is traced once.
    features: `[batch, ...]` each. Part i holds the i-th run of consecutive
      sequences.
    variables: whose gradients `compute` returns, in order.
    num_parts: equally large micro-batches; 1 makes no loop.
    loss_dtype: of the loss that `compute` returns.

  Returns:
    As `compute`, for the whole batch.

  Raises:
    ValueError: the batch cannot be divided.
  """
  if num_parts == 1:
    return compute(features)
  parts = {name: _split(name, value, num_parts)
           for name, value in features.items()}
  # Which variables have a gradient is known once the body has been traced.
  is_used = [False] * len(variables)

  def body(index, loss, totals):
    part_loss, gradients = compute(
        {name: tf.gather(value, index) for name, value in parts.items()})
    is_used[:] = [gradient is not None for gradient in gradients]
    return index + 1, loss + part_loss, [
        total if gradient is None else total + gradient
        for total, gradient in zip(totals, gradients)]

  _, loss, totals = tf.while_loop(
      lambda index, *_: index < num_parts, body,
      (tf.constant(0), tf.zeros([], loss_dtype),
       [tf.zeros(variable.shape, variable.dtype) for variable in variables]),
      # More would keep the activations of several parts.
      parallel_iterations=1, name=LOOP_NAME)
  return loss, [total if used else None
                for total, used in zip(totals, is_used)]


def _split(name: str, value: tf.Tensor, num_parts: int) -> tf.Tensor:
  """`[batch, ...]` -> `[part, batch / part, ...]`."""
  batch, *rest = value.shape
  if batch is not None and batch % num_parts:
    raise ValueError(
        f'{name} has {batch} sequences on a replica, which cannot be divided '
        f'into {num_parts} micro-batches (gradient_accumulation_steps); give a '
        'batch that is a multiple of replicas x gradient_accumulation_steps.')
  return tf.reshape(value, [num_parts, -1, *(
      tf.shape(value)[axis] if size is None else size
      for axis, size in enumerate(rest, start=1))])
