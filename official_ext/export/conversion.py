"""Whole models from Hugging Face's files to Model Garden's, and back."""

from collections.abc import Mapping

import numpy as np

from official_ext.data.vocabulary import read_vocabulary
from official_ext.export import huggingface
from official_ext.export import huggingface_files
from official_ext.export.new_directory import check_new
from official_ext.export.new_directory import new_directory
from official_ext.growth.architecture import Architecture
from official_ext.growth.named_weights import heads_in
from official_ext.modeling.checkpoint_source import find_checkpoint
from official_ext.modeling.checkpoint_weights import read_checkpoint
from official_ext.modeling.checkpoint_weights import write_model

_HEAD_NAMES = {'has_pooler': 'pooler', 'has_masked_lm': 'masked-LM head',
               'has_next_sentence': 'next-sentence head'}


def to_model_garden(source_dir: str, output_dir: str) -> list[str]:
  """Converts a directory of Hugging Face.

  Args:
    source_dir: see `read_huggingface`.
    output_dir: new; gets a checkpoint, architecture.json and vocab.txt.

  Returns:
    Lines that say what was converted.

  Raises:
    ValueError: it cannot be converted, or `output_dir` is there already.
  """
  check_new(output_dir)
  source = huggingface.read_huggingface(source_dir)
  with new_directory(output_dir) as partial:
    write_model(partial, source.weights, source.architecture,
                lower_case=source.lower_case)
    if source.vocabulary is not None:
      huggingface_files.write_vocabulary(partial, source.vocabulary)
  lines = _described(source.weights, source.architecture, source.vocabulary)
  if not heads_in(source.weights)['has_pooler']:
    lines.append("Model Garden's encoder always has a pooler; it is zeros here.")
  return lines


def to_hugging_face(path: str, output_dir: str) -> list[str]:
  """Converts a checkpoint of ours or of Model Garden's.

  Args:
    path: see `find_checkpoint`.
    output_dir: new; gets config.json, model.safetensors, vocab.txt and
      tokenizer_config.json.

  Returns:
    Lines that say what was converted.

  Raises:
    ValueError: it cannot be converted, or `output_dir` is there already.
  """
  check_new(output_dir)
  source = find_checkpoint(path)
  weights, architecture = read_checkpoint(path)
  vocabulary = None
  if source.vocabulary_file is not None:
    vocabulary = read_vocabulary(source.vocabulary_file)
  with new_directory(output_dir) as partial:
    huggingface.write_huggingface(
        partial, weights, architecture, vocabulary=vocabulary,
        lower_case=source.lower_case)
  lines = _described(weights, architecture, vocabulary)
  heads = heads_in(weights)
  if heads['has_next_sentence'] and heads['has_pooler']:
    lines.append(
        "The next-sentence head's dense layer became the pooler; the encoder's "
        'own, which pre-training does not train, is left out.')
  if architecture.query_pool_size > 1:
    lines.append('Queries are pooled no more; pooling has no weights.')
  return lines


def _described(weights: Mapping[str, np.ndarray], architecture: Architecture,
               vocabulary: object) -> list[str]:
  parts = [name for head, name in _HEAD_NAMES.items()
           if heads_in(weights)[head]]
  count = sum(array.size for array in weights.values())
  lines = [
      f'{architecture.num_layers} layers, {architecture.hidden_size} wide, '
      f'{architecture.num_heads} heads of {architecture.head_size}, '
      f'{architecture.stored_inner_size} inner units, vocabulary of '
      f'{architecture.vocab_size}; {architecture.activation}, LayerNorm epsilon '
      f'{architecture.norm_epsilon:g}; {count:,} weights',
      f'with the encoder: {", ".join(parts) or "nothing"}']
  if vocabulary is None:
    lines.append('There is no vocabulary; put vocab.txt beside the result.')
  return lines
