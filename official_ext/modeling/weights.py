"""The adapter between a live model and named weights.

This is the one file that reaches for the private attributes under which Model
Garden's layers keep their variables; `checkpoint_objects` finds them saved. The
names are those of `official_ext.growth.named_weights`.
"""

from collections.abc import Mapping, Sequence
import operator
from typing import Any

import numpy as np
import tensorflow as tf, tf_keras

from official_ext.modeling.factorized_dense import FactorizedDense

# pylint: disable=protected-access

# Canonical prefix within a block to the layer: attributes joined by dots.
BLOCK_LAYERS = {
    'attention/query': '_attention_layer._query_dense',
    'attention/key': '_attention_layer._key_dense',
    'attention/value': '_attention_layer._value_dense',
    'attention/output': '_attention_layer._output_dense',
    'attention/norm': '_attention_layer_norm',
    'ffn/inner': '_intermediate_dense',
    'ffn/output': '_output_dense',
    'ffn/norm': '_output_layer_norm',
}


def named_variables(model: tf_keras.Model) -> dict[str, tf.Variable]:
  """Canonical names of a pretrainer's trainable variables.

  Args:
    model: a `GrowingBertPretrainer`, a `GrowingGptPretrainer`, or a built stock
      `BertPretrainerV2` over a `BertEncoderV2`.

  Returns:
    dict of name to variable: every trainable variable exactly once.

  Raises:
    ValueError: if the model has a trainable variable that has no name, or
      misses one.
  """
  # A stock pretrainer has no architecture.
  architecture = getattr(model, 'architecture', None)
  is_gpt = architecture is not None and architecture.family == 'gpt'
  names = _gpt_variables(model) if is_gpt else _bert_variables(model)
  _check_cover(names, model)
  return names


def encoder_variables(encoder: tf_keras.Model) -> dict[str, tf.Variable]:
  """Canonical names of a BERT encoder's variables, its pooler's included.

  Args:
    encoder: a built `BertEncoderV2`.
  """
  return {
      'embeddings/word': encoder._embedding_layer.embeddings,
      'embeddings/position':
          encoder._position_embedding_layer._position_embeddings,
      'embeddings/type': encoder._type_embedding_layer.embeddings,
      **_norm('embeddings/norm', encoder._embedding_norm_layer),
      **_blocks(encoder.transformer_layers),
      **_dense('pooler', encoder.pooler_layer),
  }


def _bert_variables(model: tf_keras.Model) -> dict[str, tf.Variable]:
  names = {
      **encoder_variables(model.encoder_network),
      **_dense('masked_lm/dense', model.masked_lm.dense),
      **_norm('masked_lm/norm', model.masked_lm.layer_norm),
      'masked_lm/output_bias': model.masked_lm.bias,
  }
  for head in model.classification_heads:
    names |= {
        **_dense(f'{head.name}/dense', head.dense),
        **_dense(f'{head.name}/output', head.out_proj),
    }
  return names


def _gpt_variables(model: tf_keras.Model) -> dict[str, tf.Variable]:
  decoder = model.decoder
  return {
      'embeddings/word': decoder.word_embedding.embeddings,
      'embeddings/position': decoder.position_embedding._position_embeddings,
      **_blocks(decoder.transformer_layers),
      **_norm('final_norm', decoder.final_norm),
  }


def _blocks(blocks: Sequence[Any]) -> dict[str, tf.Variable]:
  names = {}
  for index, block in enumerate(blocks):
    for part, path in BLOCK_LAYERS.items():
      variables_of = _norm if part.endswith('/norm') else _dense
      names |= variables_of(
          f'layer_{index}/{part}', operator.attrgetter(path)(block))
  return names


def read_weights(model: tf_keras.Model) -> dict[str, np.ndarray]:
  """Copies of a pretrainer's weights under their canonical names."""
  return {name: np.array(variable.numpy())
          for name, variable in named_variables(model).items()}


def write_weights(
    model: tf_keras.Model, weights: Mapping[str, np.ndarray]) -> None:
  """Writes every trainable variable of a pretrainer exactly once.

  Args:
    model: see `named_variables`.
    weights: exactly the model's names, each with its variable's shape.

  Raises:
    ValueError: if names or shapes differ; nothing has been written then.
  """
  variables = named_variables(model)
  _check_match('write_weights', variables, weights)
  for name, variable in variables.items():
    variable.assign(weights[name])


def read_moments(
    optimizer: tf_keras.optimizers.legacy.Optimizer, model: tf_keras.Model,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """First and second moments of AdamWeightDecay, LAMB or legacy Adam.

  Args:
    optimizer: its slots are called 'm' and 'v'.
    model: see `named_variables`.

  Returns:
    Two dicts of canonical name to array. A variable that never had a gradient
    has no slots; its moments are zero.
  """
  _check_legacy(optimizer)
  first, second = {}, {}
  for name, variable in named_variables(model).items():
    slots = optimizer._slots.get(_slot_key(variable), {})
    for slot_name, moments in (('m', first), ('v', second)):
      slot = slots.get(slot_name)
      moments[name] = (
          np.zeros(variable.shape, variable.dtype.as_numpy_dtype)
          if slot is None else np.array(slot.numpy()))
  return first, second


def create_moments(
    optimizer: tf_keras.optimizers.legacy.Optimizer, model: tf_keras.Model
) -> None:
  """Creates all the optimizer's variables, which it would do at its first step.

  A restored checkpoint is then matched at once, and the training step is traced
  once: TensorFlow traces a function again that has created variables. Call
  under the strategy's scope.
  """
  _check_legacy(optimizer)
  optimizer._create_all_weights(list(named_variables(model).values()))


def write_moments(
    optimizer: tf_keras.optimizers.legacy.Optimizer, model: tf_keras.Model,
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
  """Writes the moments, creating the slots. Call under the strategy's scope.

  Args:
    optimizer: as for `read_moments`. Its step (`iterations`) is not touched.
    model: see `named_variables`.
    first: exactly the model's names.
    second: exactly the model's names.

  Raises:
    ValueError: if names or shapes differ; nothing has been written then.
  """
  _check_legacy(optimizer)
  variables = named_variables(model)
  for moments in (first, second):
    _check_match('write_moments', variables, moments)
  for slot_name, moments in (('m', first), ('v', second)):
    for name, variable in variables.items():
      optimizer.add_slot(variable, slot_name).assign(moments[name])


def _dense(prefix: str, layer: Any) -> dict[str, tf.Variable]:
  if isinstance(layer, FactorizedDense):
    return {f'{prefix}/kernel_in': layer.kernel_in,
            f'{prefix}/kernel_out': layer.kernel_out,
            f'{prefix}/bias': layer.bias}
  return {f'{prefix}/kernel': layer.kernel, f'{prefix}/bias': layer.bias}


def _norm(prefix: str, layer: Any) -> dict[str, tf.Variable]:
  return {f'{prefix}/gamma': layer.gamma, f'{prefix}/beta': layer.beta}


def _slot_key(variable: tf.Variable) -> str:
  """The key under which a legacy optimizer files a variable's slots."""
  # Under a strategy the slots belong to the distributed container.
  if hasattr(variable, '_distributed_container'):
    variable = variable._distributed_container()
  return variable._unique_id


def _check_legacy(optimizer: Any) -> None:
  if not isinstance(optimizer, tf_keras.optimizers.legacy.Optimizer):
    raise ValueError(
        f'optimizer is a {type(optimizer).__name__}, whose moments cannot be '
        'moved; use AdamWeightDecay or LAMB of Model Garden.')


def _check_cover(
    names: Mapping[str, tf.Variable], model: tf_keras.Model) -> None:
  named = {id(variable) for variable in names.values()}
  trainable = {id(variable): variable
               for variable in model.trainable_variables}
  unnamed = [variable.name for key, variable in trainable.items()
             if key not in named]
  absent = [name for name, variable in names.items()
            if id(variable) not in trainable]
  if unnamed or absent or len(named) != len(names):
    raise ValueError(
        'named_variables: every trainable variable needs exactly one name; '
        f'without a name: {unnamed or "none"}; not trainable: '
        f'{absent or "none"}.')


def _check_match(
    caller: str, variables: Mapping[str, tf.Variable],
    arrays: Mapping[str, np.ndarray]) -> None:
  missing = [name for name in variables if name not in arrays]
  unknown = [name for name in arrays if name not in variables]
  shapes = [
      f'{name} is {tuple(np.shape(arrays[name]))}, the model has '
      f'{tuple(variable.shape)}'
      for name, variable in variables.items()
      if name in arrays and tuple(np.shape(arrays[name])) != tuple(
          variable.shape)]
  if missing or unknown or shapes:
    raise ValueError(
        f'{caller}: the arrays do not fit the model; missing: '
        f'{missing or "none"}; unknown: {unknown or "none"}; shapes: '
        f'{"; ".join(shapes) or "none"}.')
