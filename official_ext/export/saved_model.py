"""Versioned SavedModels of trained models."""

from collections.abc import Callable, Sequence
import os
import tempfile

import tensorflow as tf

from official_ext.data.vocabulary import read_vocabulary
from official_ext.data.vocabulary import vocabulary_bytes
from official_ext.export import example_requests
from official_ext.export import serving_readme
from official_ext.export import SIGNATURES
from official_ext.export import TOP_K
from official_ext.export import warmup
from official_ext.export.answer_serving_module import AnswerServingModule
from official_ext.export.gpt_serving_module import GptServingModule
from official_ext.export.served_model import load_served_model
from official_ext.export.served_model import ServedModel
from official_ext.export.serving_module import ServingModule
from official_ext.export.task_serving_module import TaskServingModule


def export_saved_model(model_dir: str, output_dir: str | None = None, *,
                       signatures: Sequence[str] | None = None,
                       top_k: int = TOP_K, max_masks: int | None = None,
                       padding: str | None = None,
                       allow_unfinished: bool = False,
                       warn: Callable[[str], None] = print) -> str:
  """Writes the next version of a model's SavedModel.

  Args:
    model_dir: see `load_served_model`.
    output_dir: where the numbered versions are; None is
      `<model_dir>/saved_model`.
    signatures: which of `SIGNATURES` of the model's kind to write; None means
      all.
    top_k: fillings that `serving_default` of a BERT offers for a mask, pieces
      that a GPT's `next_token` offers.
    max_masks: masks of one string that a BERT fills; None means as many as
      sequences had room for in training.
    padding: see `row_encoder`.
    allow_unfinished: see `load_run_model`.
    warn: called with one line for each newer, damaged checkpoint.

  Returns:
    The new version's directory, `<output_dir>/<number>`.

  Raises:
    ValueError: a signature is unknown, an option does not fit the model, or
      there is no model that can be served; see `load_served_model`.
  """
  served = load_served_model(
      model_dir, allow_unfinished=allow_unfinished, warn=warn)
  names = SIGNATURES[served.kind]
  signatures = names if signatures is None else signatures
  unknown = [name for name in signatures if name not in names]
  if unknown or not signatures:
    raise ValueError(
        f'signatures are {",".join(signatures) or "none"}; of this model '
        f'({served.kind}) give one or more of {",".join(names)}.')
  _check_options(served, top_k=top_k, max_masks=max_masks, padding=padding)
  output_dir = output_dir or os.path.join(model_dir, 'saved_model')
  with tempfile.TemporaryDirectory() as directory:
    # Lines as the tokenizer reads them, whatever ends them in the file.
    vocabulary = read_vocabulary(served.vocabulary_file)
    vocabulary_file = os.path.join(directory, 'vocab.txt')
    with open(vocabulary_file, 'wb') as file:
      file.write(vocabulary_bytes(vocabulary))
    module = _module(served, vocabulary_file, top_k, max_masks, padding)
    requests = example_requests.example_requests(
        served, signatures, vocabulary)
    return _save_version(
        module, module.signatures(signatures), requests, output_dir)


def _check_options(served: ServedModel, *, top_k: int, max_masks: int | None,
                   padding: str | None) -> None:
  _check('top_k', top_k, served.architecture.vocab_size)
  if max_masks is not None and served.kind != 'bert':
    raise ValueError(
        f'max_masks is {max_masks}, but this model ({served.kind}) fills no '
        'masks; leave it out.')
  if max_masks is not None:
    _check('max_masks', max_masks, served.architecture.sequence_length - 2)
  if padding is not None and served.kind == 'gpt':
    raise ValueError(
        f'padding is {padding}, but a GPT always pads to its training length; '
        'leave it out.')


def _check(name: str, value: int, most: int) -> None:
  if not 1 <= value <= most:
    raise ValueError(f'{name} is {value}; give 1 to {most}.')


def _module(served: ServedModel, vocabulary_file: str, top_k: int,
            max_masks: int | None, padding: str | None) -> tf.Module:
  if served.kind == 'gpt':
    return GptServingModule(
        served.model, vocabulary_file, lower_case=served.lower_case,
        sequence_length=served.architecture.sequence_length, top_k=top_k)
  if served.kind == 'question_answering':
    return AnswerServingModule(
        served.finetuned, vocabulary_file, padding=padding)
  if served.finetuned is not None:
    return TaskServingModule(
        served.finetuned, vocabulary_file, padding=padding)
  return ServingModule(
      served.model, served.architecture, vocabulary_file,
      lower_case=served.lower_case, top_k=top_k, padding=padding,
      max_masks=served.max_masks if max_masks is None else max_masks)


def _save_version(module: tf.Module, signatures: dict[str, Callable],
                  requests: dict[str, list[dict]], output_dir: str) -> str:
  """Saves under the next free number; a server never sees half a version."""
  tf.io.gfile.makedirs(output_dir)
  versions = [int(name.rstrip('/')) for name in tf.io.gfile.listdir(output_dir)
              if name.rstrip('/').isdecimal()]
  version = os.path.join(output_dir, str(max(versions, default=0) + 1))
  # Servers look at numeric names only.
  partial = version + '.partial'
  if tf.io.gfile.exists(partial):
    tf.io.gfile.rmtree(partial)
  tf.saved_model.save(module, partial, signatures=signatures)
  warmup.write_requests(partial, requests)
  serving_readme.write(partial, signatures, requests)
  tf.io.gfile.rename(partial, version)
  return version
