"""A BERT as Hugging Face keeps it: config.json, safetensors, vocabulary."""

from collections.abc import Mapping, Sequence
import dataclasses
import os

import numpy as np

from official_ext.export import huggingface_config
from official_ext.export import huggingface_files as files
from official_ext.export import huggingface_names
from official_ext.growth.architecture import Architecture
from official_ext.growth.named_weights import heads_in
from official_ext.growth.named_weights import weight_specs
from official_ext.growth.refusals import weights_mistakes


@dataclasses.dataclass(frozen=True)
class HuggingFaceBert:
  """What a model's directory holds.

  Attributes:
    weights: canonical name to array, float32.
    architecture: of the weights.
    vocabulary: pieces in the order of their ids; None if there is none.
    lower_case: whether its tokenizer lower-cases.
  """

  weights: Mapping[str, np.ndarray]
  architecture: Architecture
  vocabulary: tuple[str, ...] | None
  lower_case: bool


def read_huggingface(directory: str) -> HuggingFaceBert:
  """Reads a BERT, with the heads and the pooler that there are.

  Args:
    directory: holds config.json, model.safetensors (or shards with their
      index) and vocab.txt or tokenizer.json.

  Raises:
    ValueError: it is no BERT that Model Garden can compute, the tensors do not
      fit the configuration, or there are pickled ones only.
  """
  if not os.path.exists(os.path.join(directory, files.CONFIG_FILE)):
    raise ValueError(
        f'{directory} has no {files.CONFIG_FILE}; give the directory of a '
        'Hugging Face model.')
  place = os.path.join(directory, files.CONFIG_FILE)
  architecture = huggingface_config.architecture_of(
      files.read_json(directory, files.CONFIG_FILE), place)
  tensors = files.read_tensors(directory)
  try:
    weights = huggingface_names.to_canonical(tensors, architecture)
  except ValueError as error:
    raise ValueError(f'{directory}: {error}') from error
  mistakes = weights_mistakes(
      weights, weight_specs(architecture, **heads_in(weights)), 'converted')
  vocabulary = files.read_vocabulary(directory)
  if vocabulary is not None and len(vocabulary) != architecture.vocab_size:
    mistakes.append(
        f'the vocabulary has {len(vocabulary)} pieces, the model '
        f'{architecture.vocab_size}; put back its own')
  if mistakes:
    raise ValueError(f'{directory}: ' + '; '.join(mistakes) + '.')
  return HuggingFaceBert(
      weights=weights, architecture=architecture, vocabulary=vocabulary,
      lower_case=files.reads_lower_case(directory))


def write_huggingface(
    directory: str, weights: Mapping[str, np.ndarray],
    architecture: Architecture, *, vocabulary: Sequence[str] | None = None,
    lower_case: bool = True) -> None:
  """Writes a BERT so that `transformers` loads it.

  Args:
    directory: exists, and is empty.
    weights: canonical name to array, with the heads that there are.
    architecture: of the weights.
    vocabulary: pieces in the order of their ids; None writes no tokenizer.
    lower_case: whether the tokenizer lower-cases.

  Raises:
    ValueError: the weights do not fit the architecture, or Hugging Face's BERT
      cannot compute what the model does.
  """
  heads = heads_in(weights)
  mistakes = weights_mistakes(
      weights, weight_specs(architecture, **heads), 'given')
  if mistakes:
    raise ValueError('; '.join(mistakes) + '.')
  config = huggingface_config.config_of(
      architecture, has_masked_lm=heads['has_masked_lm'],
      has_next_sentence=heads['has_next_sentence'])
  files.write_tensors(
      directory, huggingface_names.from_canonical(weights, architecture))
  if vocabulary is not None:
    files.write_tokenizer(directory, vocabulary, lower_case=lower_case,
                          max_positions=architecture.max_positions)
  files.write_json(directory, files.CONFIG_FILE, config)
