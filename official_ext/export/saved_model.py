"""Versioned SavedModels of a run."""

from collections.abc import Callable, Sequence
import os

import tensorflow as tf

from official_ext.export import SIGNATURES
from official_ext.export import TOP_K
from official_ext.export.run_model import load_run_model
from official_ext.export.serving_module import ServingModule


def export_saved_model(model_dir: str, output_dir: str | None = None, *,
                       signatures: Sequence[str] = SIGNATURES,
                       top_k: int = TOP_K, max_masks: int | None = None,
                       allow_unfinished: bool = False,
                       warn: Callable[[str], None] = print) -> str:
  """Writes the next version of a run's SavedModel.

  Args:
    model_dir: run directory of `train`.
    output_dir: where the numbered versions are; None is
      `<model_dir>/saved_model`.
    signatures: which of `SIGNATURES` to write.
    top_k: fillings that `serving_default` offers for a mask.
    max_masks: masks of one string that are filled; None means as many as
      sequences had room for in training.
    allow_unfinished: see `load_run_model`.
    warn: called with one line for each newer, damaged checkpoint.

  Returns:
    The new version's directory, `<output_dir>/<number>`.

  Raises:
    ValueError: a signature is unknown, a number cannot be, or the run cannot
      be served; see `load_run_model`.
  """
  unknown = [name for name in signatures if name not in SIGNATURES]
  if unknown or not signatures:
    raise ValueError(
        f'signatures are {",".join(signatures) or "none"}; give one or more of '
        f'{",".join(SIGNATURES)}.')
  run = load_run_model(
      model_dir, allow_unfinished=allow_unfinished, warn=warn)
  architecture = run.architecture
  _check('top_k', top_k, architecture.vocab_size)
  max_masks = run.num_predictions if max_masks is None else max_masks
  _check('max_masks', max_masks, architecture.sequence_length - 2)
  module = ServingModule(
      run.model, run.tokenizer, run.vocabulary_file,
      sequence_length=architecture.sequence_length, max_masks=max_masks,
      top_k=top_k)
  output_dir = output_dir or os.path.join(model_dir, 'saved_model')
  return _save_version(module, module.signatures(signatures), output_dir)


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
