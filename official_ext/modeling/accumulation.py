"""Gradients of a batch that is run in parts, one after another."""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

Features = Mapping[str, tf.Tensor]


def accumulate(
    run: Callable[[Features], tuple[tf.Tensor, list[tf.Tensor | None]]],
    features: Features, variables: Sequence[tf.Variable], num_parts: int
) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
  """Adds up what `run` returns for each part of a batch.

  The parts are the iterations of one loop, so that the graph, and what is in
  memory at a time, are those of a single part.

  Args:
    run: features of a part -> a loss, [], and a gradient for each variable,
      None for those that are not used.
    features: each `[batch, ...]`; the batch is a multiple of `num_parts`.
    variables: what the gradients are of.
    num_parts: how many parts there are.

  Returns:
    The sums, of the same kinds.
  """
  parts = {
      name: tf.reshape(value, tf.concat(
          [[num_parts, -1], tf.shape(value)[1:]], axis=0))
      for name, value in features.items()}
  rows = {name: value.shape[0] and value.shape[0] // num_parts
          for name, value in features.items()}
  is_used = [False] * len(variables)

  def body(number, loss, *sums):
    part = {
        name: tf.ensure_shape(
            value[number], [rows[name], *features[name].shape[1:]])
        for name, value in parts.items()}
    part_loss, gradients = run(part)
    # The same in every part; a loop, which is traced once, carries zeros for
    # variables that are not used.
    is_used[:] = [gradient is not None for gradient in gradients]
    return (number + 1, loss + part_loss, *(
        total if gradient is None else total + tf.cast(gradient, total.dtype)
        for total, gradient in zip(sums, gradients)))

  _, loss, *sums = tf.while_loop(
      lambda number, *_: number < num_parts, body,
      [tf.constant(0), tf.constant(0.0),
       *(tf.zeros(variable.shape, variable.dtype) for variable in variables)],
      maximum_iterations=num_parts, parallel_iterations=1)
  return loss, [total if used else None
                for total, used in zip(sums, is_used)]
