"""A trained model to be served, out of whatever directory holds one."""

from collections.abc import Callable
import dataclasses
import os

import tensorflow as tf, tf_keras

from official_ext.downstream import finetuned_model
from official_ext.export.run_model import load_run_model
from official_ext.growth.architecture import Architecture
from official_ext.growth.named_weights import heads_in
from official_ext.modeling import checkpoint_source
from official_ext.modeling.checkpoint_weights import load_model
from official_ext.modeling.checkpoint_weights import read_checkpoint
from official_ext.training import run_directory

# Masks of a text that BERT was trained to fill, where nothing says how many.
_MASKED_SHARE = 0.15


@dataclasses.dataclass(frozen=True)
class ServedModel:
  """A model and what serving it takes.

  Attributes:
    kind: a key of `SIGNATURES`.
    model: a pretrainer, a `BertClassifier` or a `BertSpanLabeler`, in float32,
      its queries not pooled.
    architecture: of it.
    vocabulary_file: its pieces, one a line.
    lower_case: whether its tokenizer lower-cases.
    max_masks: masks that a text had room for in training; None but of a BERT
      with a masked-language-model head.
    finetuned: the model with its task, if it is a fine-tuned one.
  """

  kind: str
  model: tf_keras.Model
  architecture: Architecture
  vocabulary_file: str
  lower_case: bool
  max_masks: int | None = None
  finetuned: finetuned_model.FinetunedModel | None = None


def load_served_model(path: str, *, allow_unfinished: bool = False,
                      warn: Callable[[str], None] = print) -> ServedModel:
  """Loads what `train`, `finetune`, `grow` or `convert` wrote.

  Args:
    path: a run directory, the directory of a fine-tuned model, or a checkpoint
      with `architecture.json` and `vocab.txt` beside it.
    allow_unfinished: see `load_run_model`.
    warn: called with one line for each newer, damaged checkpoint of a run.

  Raises:
    ValueError: it is none of these, or lacks a part; the message says which.
  """
  def has(name):
    return tf.io.gfile.exists(os.path.join(path, name))
  if has(finetuned_model.TASK_FILE):
    return _finetuned(path)
  if has(run_directory.SCHEDULE_FILE):
    run = load_run_model(path, allow_unfinished=allow_unfinished, warn=warn)
    is_bert = run.architecture.family == 'bert'
    return ServedModel(
        run.architecture.family, run.model, run.architecture,
        run.vocabulary_file, run.tokenizer.lower_case,
        max_masks=run.num_predictions if is_bert else None)
  return _checkpoint(path)


def _finetuned(path: str) -> ServedModel:
  finetuned = finetuned_model.load_finetuned(path)
  return ServedModel(
      finetuned.task.kind, finetuned.model, finetuned.architecture,
      finetuned.vocabulary_file, finetuned.task.lower_case,
      finetuned=finetuned)


def _checkpoint(path: str) -> ServedModel:
  try:
    source = checkpoint_source.find_checkpoint(path)
  except ValueError as error:
    raise ValueError(
        f'{path} is neither a run of `train` (no {run_directory.SCHEDULE_FILE}) '
        f'nor a fine-tuned model (no {finetuned_model.TASK_FILE}); and {error}'
    ) from error
  if source.vocabulary_file is None:
    raise ValueError(
        f"{path} has no {checkpoint_source.VOCABULARY_FILE}; put the model's own "
        'beside the checkpoint.')
  weights, architecture = read_checkpoint(path)
  architecture = architecture.replace(query_pool_size=1)
  kind, max_masks = architecture.family, None
  if kind == 'bert':
    if heads_in(weights)['has_masked_lm']:
      max_masks = max(1, round(_MASKED_SHARE * architecture.sequence_length))
    else:
      kind = 'encoder'
  return ServedModel(
      kind, load_model(weights, architecture), architecture,
      source.vocabulary_file, source.lower_case, max_masks=max_masks)
