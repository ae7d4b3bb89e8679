"""The ops that a server needs for each signature of a SavedModel."""

from collections.abc import Iterable
import os

import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

# Those of TF Text that a signature may need. All others are TensorFlow's own.
TEXT_OPS = frozenset({
    'CaseFoldUTF8', 'NormalizeUTF8', 'RegexSplitWithOffsets',
    'WordpieceTokenizeWithOffsets'})


def read_meta_graph(version_dir: str) -> meta_graph_pb2.MetaGraphDef:
  """The graph of a SavedModel, with its signatures."""
  saved_model = saved_model_pb2.SavedModel()
  path = os.path.join(version_dir, 'saved_model.pb')
  with tf.io.gfile.GFile(path, 'rb') as file:
    saved_model.ParseFromString(file.read())
  return saved_model.meta_graphs[0]


def needed_ops(meta_graph: meta_graph_pb2.MetaGraphDef, signature: str
               ) -> list[str]:
  """Names of all ops that a call of a signature may run, sorted."""
  nodes = {node.name: node for node in meta_graph.graph_def.node}
  functions = {function.signature.name: function
               for function in meta_graph.graph_def.library.function}
  ops, seen = set(), set()

  def add(body: Iterable[node_def_pb2.NodeDef]) -> None:
    for node in body:
      if node.op not in functions:
        ops.add(node.op)
      names = {node.op}
      for attribute in node.attr.values():
        names.add(attribute.func.name)
        names |= {function.name for function in attribute.list.func}
      for name in (names & functions.keys()) - seen:
        seen.add(name)
        add(functions[name].node_def)

  wanted = [info.name.split(':')[0] for info in
            meta_graph.signature_def[signature].outputs.values()]
  reached = {}
  while wanted:
    name = wanted.pop()
    if name not in reached:
      reached[name] = nodes[name]
      wanted += [source.lstrip('^').split(':')[0]
                 for source in nodes[name].input]
  add(reached.values())
  return sorted(ops)
