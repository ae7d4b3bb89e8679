"""A model's weights in a TensorFlow checkpoint, found by the saved objects.

A checkpoint names its variables by some path through the objects that were
saved, and which path that is depends on what else was. The graph of the
objects, which every checkpoint holds too, has all paths, so the attributes of
Model Garden's classes lead to a variable whatever its name.
"""

from collections.abc import Iterator
import re
from typing import Any, NamedTuple

from tensorflow.core.protobuf import trackable_object_graph_pb2

from official_ext.growth.refusals import listed
from official_ext.modeling.weights import BLOCK_LAYERS

# What `tf.train.load_checkpoint` returns; its class has no public name.
_Reader = Any
_GRAPH = '_CHECKPOINTABLE_OBJECT_GRAPH'


class _Network(NamedTuple):
  """What an encoder or decoder calls its parts.

  Attributes:
    places: where it may hang, seen from the root.
    blocks: attribute that lists the blocks.
    embeddings: canonical name to the layer of a table; the first one tells
      which network an object is.
    layers: canonical prefix to the layer of a LayerNorm or dense layer.
  """

  places: tuple[str, ...]
  blocks: str
  embeddings: dict[str, str]
  layers: dict[str, str]


_BERT = _Network(
    ('encoder', 'model.encoder_network', 'encoder_network', 'model.encoder',
     'model', ''),
    '_transformer_layers',
    {'embeddings/word': '_embedding_layer',
     'embeddings/position': '_position_embedding_layer',
     'embeddings/type': '_type_embedding_layer'},
    {'embeddings/norm': '_embedding_norm_layer', 'pooler': '_pooler_layer'})
_GPT = _Network(
    ('decoder', 'model.decoder', 'model', ''),
    'transformer_layers',
    {'embeddings/word': 'word_embedding',
     'embeddings/position': 'position_embedding'},
    {'final_norm': 'final_norm'})
_TABLES = ('embeddings', '_position_embeddings')
# By the names of variables within a layer; a factorised one has two layers.
_LEAVES = {
    'kernel': 'kernel', '_dense_in.kernel': 'kernel_in',
    '_dense_out.kernel': 'kernel_out', 'bias': 'bias',
    '_dense_out.bias': 'bias', 'gamma': 'gamma', 'beta': 'beta',
}
# Where the heads may hang, seen from the root.
_OWNERS = ('', 'model')
# Optimizers and metrics, wherever they hang.
_BOOKKEEPING = re.compile(
    r'(^|/)(optimizer|keras_api)/|/\.OPTIMIZER_SLOT/|^_CHECKPOINTABLE')


class ObjectGraph:
  """The objects of one checkpoint, and the keys of their variables."""

  def __init__(self, reader: _Reader):
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_GRAPH))
    self._nodes = graph.nodes

  def children(self, node: int) -> dict[str, int]:
    """What an object holds, by the names of its attributes."""
    return {child.local_name: child.node_id
            for child in self._nodes[node].children}

  def items(self, node: int | None) -> dict[str, int]:
    """The items of a list, by their indices."""
    if node is None:
      return {}
    return {name: child for name, child in self.children(node).items()
            if name.isdigit()}

  def find(self, path: str, start: int | None = 0) -> int | None:
    """The object that attributes, joined by dots, lead to; None if nowhere."""
    node = start
    for name in path.split('.') if path else ():
      node = None if node is None else self.children(node).get(name)
    return node

  def key(self, path: str, start: int | None) -> str | None:
    """The key of the variable that attributes lead to; None if nowhere."""
    node = self.find(path, start)
    for attribute in self._nodes[node].attributes if node is not None else ():
      if attribute.name == 'VARIABLE_VALUE':
        return attribute.checkpoint_key
    return None


def weight_keys(reader: _Reader) -> dict[str, str]:
  """Canonical names of a BERT's or a GPT's weights, and their keys.

  Args:
    reader: of a checkpoint of a pretrainer, of an encoder, or of both.

  Returns:
    Only what there is: a checkpoint may lack heads.

  Raises:
    ValueError: there is no such model in it, or there are variables beside it
      that are neither an optimizer's nor a metric's; they are listed.
  """
  if not reader.has_tensor(_GRAPH):
    raise ValueError(
        'it was not saved by tf.train.Checkpoint; load it with the tool that '
        'wrote it, and save it that way')
  graph = ObjectGraph(reader)
  keys = dict(_network_keys(graph, _BERT)) or dict(_network_keys(graph, _GPT))
  if not keys:
    raise ValueError(
        "there is no BERT encoder in it; expected Model Garden's as `encoder`, "
        'or in a pretrainer as `model`')
  keys |= dict(_head_keys(graph))
  unknown = _unknown(reader, set(keys.values()))
  if unknown:
    raise ValueError(
        f'unknown variables {listed(unknown)}; expected those of one encoder or '
        'decoder, a masked-LM head and a next-sentence head')
  return keys


def norm_share(reader: _Reader) -> float | None:
  """How far weighted LayerNorms are on their way to ordinary ones, 0 to 1.

  See `weighted_norm.NormAnnealing`; None for a model without.
  """
  if not reader.has_tensor(_GRAPH):
    return None
  graph = ObjectGraph(reader)
  for network in (_BERT, _GPT):
    annealing = graph.find('norm_annealing', _root(graph, network))
    keys = [graph.key(name, annealing) for name in ('step', 'num_steps')]
    if all(keys):
      step, num_steps = (float(reader.get_tensor(key)) for key in keys)
      return min(step / num_steps, 1.0) if num_steps else 0.0
  return None


def _root(graph: ObjectGraph, network: _Network) -> int | None:
  mark = next(iter(network.embeddings.values()))
  return next((node for node in map(graph.find, network.places)
               if node is not None and mark in graph.children(node)), None)


def _network_keys(graph: ObjectGraph, network: _Network
                  ) -> Iterator[tuple[str, str]]:
  root = _root(graph, network)
  for name, path in network.embeddings.items():
    layer = graph.find(path, root)
    key = next(filter(None, (graph.key(leaf, layer) for leaf in _TABLES)), None)
    if key:
      yield name, key
  for name, path in network.layers.items():
    yield from _layer_keys(graph, name, graph.find(path, root))
  for index, block in graph.items(graph.find(network.blocks, root)).items():
    for part, path in BLOCK_LAYERS.items():
      yield from _layer_keys(
          graph, f'layer_{index}/{part}', graph.find(path, block))


def _head_keys(graph: ObjectGraph) -> Iterator[tuple[str, str]]:
  for owner in map(graph.find, _OWNERS):
    head = graph.find('masked_lm', owner)
    yield from _layer_keys(graph, 'masked_lm/dense', graph.find('dense', head))
    yield from _layer_keys(
        graph, 'masked_lm/norm', graph.find('layer_norm', head))
    bias = graph.key('bias', head) or graph.key('output_bias/bias', head)
    if bias:
      yield 'masked_lm/output_bias', bias
    # The objects do not say what heads are called; a single one is this one.
    heads = list(graph.items(graph.find('classification_heads', owner)).values())
    head = heads[0] if len(heads) == 1 else graph.find('next_sentence', owner)
    yield from _layer_keys(
        graph, 'next_sentence/dense', graph.find('dense', head))
    yield from _layer_keys(
        graph, 'next_sentence/output', graph.find('out_proj', head))


def _layer_keys(graph: ObjectGraph, name: str, layer: int | None
                ) -> Iterator[tuple[str, str]]:
  for path, leaf in _LEAVES.items():
    key = graph.key(path, layer)
    if key:
      yield f'{name}/{leaf}', key


def _unknown(reader: _Reader, known: set[str]) -> list[str]:
  """Variables that belong to some model, but not to these.

  A model's weights are floats with an axis at least; steps and random states
  are integers, metrics and learning rates scalars.
  """
  types = reader.get_variable_to_dtype_map()
  return sorted(
      key.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE')
      for key, shape in reader.get_variable_to_shape_map().items()
      if key not in known and shape and types[key].is_floating
      and not _BOOKKEEPING.search(key))
