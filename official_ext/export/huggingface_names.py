"""Hugging Face's names of a BERT's weights, and how their arrays lie.

A `torch.nn.Linear` keeps its weight as [out, in], a Keras kernel is [in, out];
attention kernels have an axis for the heads here, [hidden, heads, head size],
and none there. The next-sentence head there reads the pooler; here it has a
dense layer of its own (Model Garden's `ClassificationHead`), which is what
pre-training trains, so that layer and the pooler there are one and the same.
"""

from collections.abc import Mapping
import re

import numpy as np

from official_ext.growth.architecture import Architecture
from official_ext.growth.refusals import listed

_PREFIX = 'bert.'
_BLOCK = {
    'attention/query': 'attention.self.query',
    'attention/key': 'attention.self.key',
    'attention/value': 'attention.self.value',
    'attention/output': 'attention.output.dense',
    'attention/norm': 'attention.output.LayerNorm',
    'ffn/inner': 'intermediate.dense',
    'ffn/output': 'output.dense',
    'ffn/norm': 'output.LayerNorm',
}
_OUTSIDE = {
    'embeddings/word': 'bert.embeddings.word_embeddings.weight',
    'embeddings/position': 'bert.embeddings.position_embeddings.weight',
    'embeddings/type': 'bert.embeddings.token_type_embeddings.weight',
    'embeddings/norm': 'bert.embeddings.LayerNorm',
    'pooler': 'bert.pooler.dense',
    'masked_lm/dense': 'cls.predictions.transform.dense',
    'masked_lm/norm': 'cls.predictions.transform.LayerNorm',
    'masked_lm/output_bias': 'cls.predictions.bias',
    'next_sentence/output': 'cls.seq_relationship',
}
_LEAVES = {'kernel': 'weight', 'bias': 'bias', 'gamma': 'weight', 'beta': 'bias'}
# Copies of what is there already, and buffers of no weight.
_BUFFERS = re.compile(r'bert\.embeddings\.(position_ids|token_type_ids)')
_TIED = {'cls.predictions.decoder.weight': 'embeddings/word',
         'cls.predictions.decoder.bias': 'masked_lm/output_bias'}


def to_canonical(tensors: Mapping[str, np.ndarray], architecture: Architecture
                 ) -> dict[str, np.ndarray]:
  """Renames and turns Hugging Face's tensors.

  Args:
    tensors: by their names there, with or without `bert.` before the encoder's.
    architecture: gives the heads.

  Returns:
    Canonical name to array, float32. A next-sentence head gets the pooler as
    its dense layer.

  Raises:
    ValueError: a tensor is unknown, or a decoder is not tied; all are listed.
  """
  tensors = {_with_prefix(name): tensor for name, tensor in tensors.items()
             if not _BUFFERS.fullmatch(_with_prefix(name))}
  names = _names(architecture.num_layers)
  weights = {
      ours: _turned(ours, tensors[theirs], architecture)
      for ours, theirs in names.items() if theirs in tensors}
  mistakes = []
  unknown = sorted(tensors.keys() - set(names.values()) - _TIED.keys())
  if unknown:
    mistakes.append(
        f'unknown tensors {listed(unknown)}; expected those of a BERT with '
        f'{architecture.num_layers} layers and its pre-training heads')
  mistakes += [
      f'{theirs} is not {names[ours]}; expected the two to be tied'
      for theirs, ours in _TIED.items() if theirs in tensors
      and (ours not in weights
           or not np.array_equal(tensors[theirs], tensors[names[ours]]))]
  if mistakes:
    raise ValueError('; '.join(mistakes) + '.')
  if 'next_sentence/output/kernel' in weights and 'pooler/kernel' in weights:
    weights |= {f'next_sentence/dense/{leaf}': weights[f'pooler/{leaf}'].copy()
                for leaf in ('kernel', 'bias')}
  return weights


def from_canonical(weights: Mapping[str, np.ndarray],
                   architecture: Architecture) -> dict[str, np.ndarray]:
  """Names and turns weights as `transformers` would save them.

  Args:
    weights: canonical name to array. With a next-sentence head its dense layer
      becomes the pooler, and the encoder's own pooler, which pre-training never
      trains, is left out.
    architecture: of the weights.

  Returns:
    Tensors by their names there: the encoder's with `bert.` before them if
    there is a head, bare if there is none.
  """
  weights = dict(weights)
  has_head = any(name.startswith(('masked_lm/', 'next_sentence/'))
                 for name in weights)
  for leaf in ('kernel', 'bias'):
    trained = weights.pop(f'next_sentence/dense/{leaf}', None)
    if trained is not None:
      weights[f'pooler/{leaf}'] = trained
  tensors = {}
  for ours, theirs in _names(architecture.num_layers).items():
    if ours in weights:
      name = theirs if has_head else theirs.removeprefix(_PREFIX)
      tensors[name] = np.ascontiguousarray(_turned_back(ours, weights[ours]))
  return tensors


def _names(num_layers: int) -> dict[str, str]:
  """Canonical name to the name there, `bert.` before the encoder's."""
  prefixes = dict(_OUTSIDE)
  for layer in range(num_layers):
    prefixes |= {f'layer_{layer}/{ours}': f'bert.encoder.layer.{layer}.{theirs}'
                 for ours, theirs in _BLOCK.items()}
  names = {}
  for ours, theirs in prefixes.items():
    if ours.endswith(('/word', '/position', '/type', '_bias')):
      names[ours] = theirs
      continue
    leaves = ('gamma', 'beta') if ours.endswith('/norm') else ('kernel', 'bias')
    names |= {f'{ours}/{leaf}': f'{theirs}.{_LEAVES[leaf]}' for leaf in leaves}
  return names


def _with_prefix(name: str) -> str:
  """The full name, and LayerNorms as they are called today."""
  for old, new in (('.LayerNorm.gamma', '.LayerNorm.weight'),
                   ('.LayerNorm.beta', '.LayerNorm.bias')):
    if name.endswith(old):
      name = name.removesuffix(old) + new
  if name.startswith(('embeddings.', 'encoder.', 'pooler.')):
    return _PREFIX + name
  return name


def _turned(name: str, tensor: np.ndarray, architecture: Architecture
            ) -> np.ndarray:
  """A tensor as it lies here; a wrong size is left for the shapes' check."""
  array = np.array(tensor, np.float32)
  if name.endswith('/kernel'):
    array = np.ascontiguousarray(array.T)
  heads = (architecture.num_heads, architecture.head_size)
  width = heads[0] * heads[1]
  if re.search(r'attention/(query|key|value)/', name):
    if array.shape[-1] == width:
      array = array.reshape(*array.shape[:-1], *heads)
  elif name.endswith('attention/output/kernel') and array.shape[0] == width:
    array = array.reshape(*heads, *array.shape[1:])
  return array


def _turned_back(name: str, array: np.ndarray) -> np.ndarray:
  array = np.asarray(array, np.float32)
  if re.search(r'attention/(query|key|value)/', name):
    array = array.reshape(*array.shape[:-2], -1)
  elif name.endswith('attention/output/kernel'):
    array = array.reshape(-1, array.shape[-1])
  return array.T if name.endswith('/kernel') else array
