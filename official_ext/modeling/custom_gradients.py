"""Custom gradients that go with the graph in which they were traced."""

from typing import Any

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
  name = operation.node_def.attr['_gradient_op_type'].s.decode()
  # Several results may be of one operation; some strategies have no gradient.
  if name in ops.gradient_registry._registry:
    operation._gradient_function = ops.gradient_registry.lookup(name)
    del ops.gradient_registry._registry[name]


def all_reduce_sum(replica_context: tf.distribute.ReplicaContext, values: Any
                   ) -> Any:
  """`all_reduce` of sums, whose gradient is kept in the graph only.

  Args:
    replica_context: of the replica.
    values: a tensor, or a structure of them.
  """
  results = replica_context.all_reduce(tf.distribute.ReduceOp.SUM, values)
  for result in tf.nest.flatten(results):
    keep_in_graph_only(result)
  return results
