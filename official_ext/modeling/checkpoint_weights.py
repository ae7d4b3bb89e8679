"""Named weights out of a checkpoint on disk, and back."""

from collections.abc import Mapping
import dataclasses
import json
import os
from typing import Any

import numpy as np
import tensorflow as tf, tf_keras

from official_ext.growth.architecture import Architecture
from official_ext.growth.named_weights import heads_in
from official_ext.growth.named_weights import layer_of
from official_ext.growth.named_weights import weight_specs
from official_ext.growth.refusals import weights_mistakes
from official_ext.mistakes import one_line
from official_ext.modeling import checkpoint_objects
from official_ext.modeling.checkpoint_source import ARCHITECTURE_FILE
from official_ext.modeling.checkpoint_source import find_checkpoint
from official_ext.modeling.checkpoint_source import VOCABULARY_FILE
from official_ext.modeling.family import build_pretrainer
from official_ext.modeling.precision import computing_in
from official_ext.modeling.weights import named_variables
from official_ext.modeling.weights import write_weights


def read_checkpoint(path: str) -> tuple[dict[str, np.ndarray], Architecture]:
  """Reads the weights of a checkpoint of ours or of Model Garden's.

  What was saved: a pretrainer with its `checkpoint_items`, `model=` alone, or
  `encoder=` alone. The optimizer's state stays behind.

  Args:
    path: see `find_checkpoint`.

  Returns:
    Canonical name to array, with the heads that there are, and the
    architecture. Where nothing is written down beside the checkpoint, it is
    inferred from the shapes; activation and epsilon are then Model Garden's
    defaults. A checkpoint of a treated stage gives its treated architecture.

  Raises:
    ValueError: there is no checkpoint, it is damaged, it is of another model,
      its LayerNorms are between weighted and ordinary, or it has variables that
      the model does not have; they are listed.
  """
  source = find_checkpoint(path)
  try:
    reader = tf.train.load_checkpoint(source.prefix)
    weights = {name: reader.get_tensor(key) for name, key in
               checkpoint_objects.weight_keys(reader).items()}
  except ValueError as error:
    raise ValueError(f'{source.prefix} cannot be read: {error}.') from error
  except (tf.errors.OpError, IndexError, RuntimeError) as error:
    raise ValueError(
        f'{source.prefix} is damaged ({one_line(error)}); give an earlier one by '
        'its prefix (folder/ckpt-100).') from error
  untrained = tuple(f'{head}/' for head in source.untrained)
  weights = {name: array for name, array in weights.items()
             if not name.startswith(untrained)}
  architecture = source.architecture or _infer(weights, source.prefix)
  mistakes = weights_mistakes(
      weights, weight_specs(architecture, **heads_in(weights)), 'checkpoint')
  if mistakes:
    raise ValueError(f'{source.prefix}: ' + '; '.join(mistakes) + '.')
  return weights, architecture


def write_model(
    directory: str, weights: Mapping[str, np.ndarray],
    architecture: Architecture, *, vocab_file: str | None = None,
    lower_case: bool = True) -> str:
  """Writes weights as Model Garden's own trainer would, and what they are.

  `ckpt-0` restores strictly into a stock `BertPretrainerV2` if the masked-LM
  head is there, and into a `BertEncoderV2` in any case. That class always has a
  pooler; for a model without one it is saved as zeros, and `architecture.json`
  says so.

  Args:
    directory: a new or an empty one.
    weights: canonical name to array; each of a BERT's heads, and its pooler, is
      optional.
    architecture: of the weights.
    vocab_file: copied to vocab.txt.
    lower_case: whether the tokenizer of that vocabulary lower-cases.

  Returns:
    The checkpoint's prefix.

  Raises:
    ValueError: the weights do not fit the architecture.
  """
  model = load_model(weights, architecture)
  lacks_pooler = (
      architecture.family == 'bert' and not heads_in(weights)['has_pooler'])
  tf.io.gfile.makedirs(directory)
  manager = tf.train.CheckpointManager(
      _checkpoint(model, weights), directory, max_to_keep=1)
  prefix = manager.save(checkpoint_number=0)
  if vocab_file is not None:
    tf.io.gfile.copy(
        vocab_file, os.path.join(directory, VOCABULARY_FILE), True)
  content = {
      'architecture': dataclasses.asdict(architecture),
      'untrained': ['pooler'] if lacks_pooler else [],
      'lower_case': lower_case}
  with tf.io.gfile.GFile(
      os.path.join(directory, ARCHITECTURE_FILE), 'w') as file:
    file.write(json.dumps(content, indent=2) + '\n')
  return prefix


def load_model(weights: Mapping[str, np.ndarray], architecture: Architecture
               ) -> tf_keras.Model:
  """Builds a pretrainer, in float32, with the given weights.

  Parts of which there are no weights are zeros.

  Raises:
    ValueError: the weights do not fit the architecture.
  """
  mistakes = weights_mistakes(
      weights, weight_specs(architecture, **heads_in(weights)), 'given')
  if mistakes:
    raise ValueError('; '.join(mistakes) + '.')
  options = {}
  if architecture.family == 'bert':
    options['use_next_sentence'] = heads_in(weights)['has_next_sentence']
  with computing_in('float32'):
    model = build_pretrainer(architecture, **options)
  zeros = {name: np.zeros(variable.shape, np.float32)
           for name, variable in named_variables(model).items()
           if name not in weights}
  write_weights(model, {**weights, **zeros})
  return model


def _checkpoint(model: tf_keras.Model, weights: Mapping[str, np.ndarray]
                ) -> tf.train.Checkpoint:
  """A whole pretrainer, or the parts of one that there are weights of."""
  items = dict(model.checkpoint_items)
  if (model.architecture.family == 'gpt'
      or heads_in(weights)['has_masked_lm']):
    return tf.train.Checkpoint(model=model, **items)
  del items['masked_lm']
  if model.classification_heads:
    items['next_sentence'] = model.classification_heads[0]
  return tf.train.Checkpoint(**items)


def _infer(weights: Mapping[str, np.ndarray], place: str) -> Architecture:
  """The architecture of weights, as far as shapes tell."""
  family = 'gpt' if 'final_norm/gamma' in weights else 'bert'
  needed = ['embeddings/word', 'embeddings/position',
            'layer_0/attention/query/kernel', 'layer_0/ffn/inner/kernel']
  if family == 'bert':
    needed.append('embeddings/type')
  missing = [name for name in needed if name not in weights]
  if missing:
    raise ValueError(
        f'{place}: {", ".join(missing)} missing; expected a whole '
        f'{family.upper()}.')
  vocab_size, hidden_size = weights['embeddings/word'].shape
  _, num_heads, head_size = weights['layer_0/attention/query/kernel'].shape
  layers = {layer_of(name) for name in weights} - {None}
  return Architecture(
      family=family, num_layers=len(layers), hidden_size=hidden_size,
      num_heads=num_heads, head_size=head_size,
      inner_size=weights['layer_0/ffn/inner/kernel'].shape[1],
      vocab_size=vocab_size,
      max_positions=weights['embeddings/position'].shape[0],
      type_vocab_size=(
          weights['embeddings/type'].shape[0] if family == 'bert' else None))
