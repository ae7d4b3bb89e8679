"""Versioned SavedModels of a run."""

from collections.abc import Callable, Sequence
import os

import tensorflow as tf

from official_ext.export import SIGNATURES
from official_ext.export import TOP_K
from official_ext.export.gpt_serving_module import GptServingModule
from official_ext.export.run_model import load_run_model
from official_ext.export.run_model import RunModel
from official_ext.export.serving_module import ServingModule


def export_saved_model(model_dir: str, output_dir: str | None = None, *,
                       signatures: Sequence[str] | None = None,
                       top_k: int = TOP_K, max_masks: int | None = None,
                       allow_unfinished: bool = False,
                       warn: Callable[[str], None] = print) -> str:
  """Writes the next version of a run's SavedModel.

  Args:
    model_dir: run directory of `train`.
    output_dir: where the numbered versions are; None is
      `<model_dir>/saved_model`.
    signatures: which of `SIGNATURES` of the model's family to write; None means
      all.
    top_k: fillings that a BERT's `serving_default` offers for a mask, pieces
      that a GPT's `next_token` offers.
    max_masks: masks of one string that a BERT fills; None means as many as
      sequences had room for in training.
    allow_unfinished: see `load_run_model`.
    warn: called with one line for each newer, damaged checkpoint.

  Returns:
    The new version's directory, `<output_dir>/<number>`.

  Raises:
    ValueError: a signature is unknown, a number cannot be, or the run cannot
      be served; see `load_run_model`.
  """
  run = load_run_model(
      model_dir, allow_unfinished=allow_unfinished, warn=warn)
  served = SIGNATURES[run.architecture.family]
  signatures = served if signatures is None else signatures
  unknown = [name for name in signatures if name not in served]
  if unknown or not signatures:
    raise ValueError(
        f'signatures are {",".join(signatures) or "none"}; give one or more of '
        f'{",".join(served)}.')
  _check('top_k', top_k, run.architecture.vocab_size)
  build = {'bert': _bert_module, 'gpt': _gpt_module}[run.architecture.family]
  module = build(run, top_k, max_masks)
  output_dir = output_dir or os.path.join(model_dir, 'saved_model')
  return _save_version(module, module.signatures(signatures), output_dir)


def _bert_module(run: RunModel, top_k: int, max_masks: int | None
                 ) -> ServingModule:
  length = run.architecture.sequence_length
  max_masks = run.num_predictions if max_masks is None else max_masks
  _check('max_masks', max_masks, length - 2)
  return ServingModule(
      run.model, run.tokenizer, run.vocabulary_file, sequence_length=length,
      max_masks=max_masks, top_k=top_k)


def _gpt_module(run: RunModel, top_k: int, max_masks: int | None
                ) -> GptServingModule:
  if max_masks is not None:
    raise ValueError(
        f'max_masks is {max_masks}, but a GPT fills no masks; leave it out.')
  return GptServingModule(
      run.model, run.tokenizer, run.vocabulary_file,
      sequence_length=run.architecture.sequence_length, top_k=top_k)


def _check(name: str, value: int, most: int) -> None:
  if not 1 <= value <= most:
    raise ValueError(f'{name} is {value}; give 1 to {most}.')


def _save_version(module: tf.Module, signatures: dict[str, Callable],
                  output_dir: str) -> str:
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
  tf.io.gfile.rename(partial, version)
  return version
