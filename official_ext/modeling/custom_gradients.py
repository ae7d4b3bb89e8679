"""Custom gradients that go with the graph in which they were traced."""

import tensorflow as tf
from tensorflow.python.framework import ops


def keep_in_graph_only(result: tf.Tensor) -> None:
  """Makes TensorFlow forget a gradient of `tf.custom_gradient` with its graph.

  TensorFlow registers the gradient by name for the life of the process. It holds
  the graph of the step, and that all variables which the step reads or writes: a
  run that grows would keep the weights and moments of every stage. TensorFlow
  itself keeps the gradient of a loaded function on the operation, where it is
  looked for first.

  Args:
    result: one that the decorated function has just given; without a graph
      nothing was registered.
  """
  if not tf.is_symbolic_tensor(result):
    return
  operation = result.op
  name = operation.get_attr('_gradient_op_type').decode()
  operation._gradient_function = ops.gradient_registry.lookup(name)
  del ops.gradient_registry._registry[name]
