"""A Hugging Face `config.json` of a BERT, and the `Architecture` that it means."""

from collections.abc import Mapping
from typing import Any

from official_ext.growth.architecture import Architecture

MODEL_TYPE = 'bert'

# 'gelu' is computed by the error function there, by tanh in Model Garden.
_ACTIVATIONS = {
    'gelu': 'gelu_erf', 'gelu_python': 'gelu_erf', 'gelu_new': 'gelu_tanh',
    'gelu_pytorch_tanh': 'gelu_tanh', 'relu': 'relu'}
_ACTIVATION_NAMES = {
    'gelu_erf': 'gelu', 'gelu_tanh': 'gelu_new', 'relu': 'relu'}
_SIZES = {
    'num_hidden_layers': 'num_layers', 'hidden_size': 'hidden_size',
    'num_attention_heads': 'num_heads', 'intermediate_size': 'inner_size',
    'vocab_size': 'vocab_size', 'max_position_embeddings': 'max_positions',
    'type_vocab_size': 'type_vocab_size'}
# What `BertConfig` takes for a setting that is not written down.
_DEFAULTS = {
    'hidden_act': 'gelu', 'layer_norm_eps': 1e-12,
    'position_embedding_type': 'absolute', 'is_decoder': False,
    'add_cross_attention': False, 'tie_word_embeddings': True}
# A BERT that is anything else computes another function.
_EXPECTED = (
    'position_embedding_type', 'is_decoder', 'add_cross_attention',
    'tie_word_embeddings')


def architecture_of(config: Mapping[str, Any], place: str) -> Architecture:
  """What a `config.json` describes.

  Args:
    config: its content.
    place: its path, for messages.

  Raises:
    ValueError: it is no BERT encoder with absolute positions, or a size is
      missing; everything is listed at once.
  """
  if config.get('model_type') != MODEL_TYPE:
    raise ValueError(
        f'{place}: model_type is {config.get("model_type")!r}; only BERT can be '
        f"converted, with model_type '{MODEL_TYPE}'.")
  values = _DEFAULTS | {
      name: value for name, value in config.items() if value is not None}
  mistakes = [
      f'{name} is {values[name]!r}, which this BERT cannot have; expected '
      f'{_DEFAULTS[name]!r}'
      for name in _EXPECTED if values[name] != _DEFAULTS[name]]
  if values['hidden_act'] not in _ACTIVATIONS:
    mistakes.append(
        f'hidden_act is {values["hidden_act"]!r}; expected one of '
        f'{", ".join(_ACTIVATIONS)}')
  missing = [name for name in _SIZES if name not in config]
  if missing:
    mistakes.append(f'{", ".join(missing)} missing; write down every size')
  if mistakes:
    raise ValueError(f'{place}: ' + '; '.join(mistakes) + '.')
  try:
    return Architecture(
        activation=_ACTIVATIONS[values['hidden_act']],
        norm_epsilon=float(values['layer_norm_eps']),
        **{ours: config[theirs] for theirs, ours in _SIZES.items()})
  except ValueError as error:
    raise ValueError(f'{place}: {error}') from error


def config_of(architecture: Architecture, *, has_masked_lm: bool,
              has_next_sentence: bool) -> dict[str, Any]:
  """The `config.json` of an architecture.

  Pooled queries and short sequences have no weights and are left out. A shared
  feed-forward block is the ordinary one of the units that are stored.

  Args:
    architecture: of a BERT.
    has_masked_lm: whether the masked-LM head is there.
    has_next_sentence: whether the next-sentence head is there.

  Raises:
    ValueError: Hugging Face's BERT cannot compute what the model does.
  """
  mistakes = []
  if architecture.family != MODEL_TYPE:
    mistakes.append(
        f'family is {architecture.family!r}; only a BERT can be converted')
  if architecture.ffn_rank is not None:
    mistakes.append(
        f'ffn_rank is {architecture.ffn_rank}; grow the model to a target '
        'without it first')
  if architecture.norm_source_size is not None:
    mistakes.append(
        f'norm_source_size is {architecture.norm_source_size}, a weighted '
        'LayerNorm; train the model until it is an ordinary one')
  if (architecture.head_size * architecture.num_heads
      != architecture.hidden_size):
    mistakes.append(
        f'{architecture.num_heads} heads of {architecture.head_size} do not '
        f'make hidden_size {architecture.hidden_size}')
  if mistakes:
    raise ValueError('Hugging Face has no such BERT: ' + '; '.join(mistakes)
                     + '.')
  name = {(True, True): 'BertForPreTraining', (True, False): 'BertForMaskedLM',
          (False, True): 'BertForNextSentencePrediction',
          (False, False): 'BertModel'}[has_masked_lm, has_next_sentence]
  sizes = {theirs: getattr(architecture, ours)
           for theirs, ours in _SIZES.items()}
  return {
      'architectures': [name],
      'model_type': MODEL_TYPE,
      **sizes,
      'intermediate_size': architecture.stored_inner_size,
      'hidden_act': _ACTIVATION_NAMES[architecture.activation],
      'layer_norm_eps': architecture.norm_epsilon,
      'position_embedding_type': 'absolute',
      'hidden_dropout_prob': 0.1,
      'attention_probs_dropout_prob': 0.1,
      'initializer_range': 0.02,
      'pad_token_id': 0,
      'tie_word_embeddings': True,
  }
