"""Tries a SavedModel of either family on texts."""

from collections.abc import Sequence

import tensorflow as tf
# Registers the tokenizer's ops.
import tensorflow_text as _

from official_ext.export.continuations import continuations
from official_ext.export.filled_masks import filled_masks_table


def try_texts(saved_model_dir: str, texts: Sequence[str]) -> str:
  """Fills the masks of texts, or continues them, as the model was made for.

  Args:
    saved_model_dir: one version of an exported SavedModel with signature
      `serving_default` of a BERT or `generate` of a GPT.
    texts: with masks in them, or beginnings.

  Returns:
    Lines to print.
  """
  signatures = tf.saved_model.load(saved_model_dir).signatures
  show = continuations if 'generate' in signatures else filled_masks_table
  return show(saved_model_dir, texts)
