"""Fillings of masked texts by a SavedModel, as a table to look at."""

from collections.abc import Sequence

import tensorflow as tf
# Registers the tokenizer's ops.
import tensorflow_text as _

_BAR_CELLS = 24


def filled_masks_table(saved_model_dir: str, texts: Sequence[str]) -> str:
  """Fills the masks of texts through signature `serving_default`.

  Args:
    saved_model_dir: one version of an exported SavedModel.
    texts: each with a "[MASK]" or more.

  Returns:
    Lines: every text, and under it a row for each filling of each mask.
  """
  serve = tf.saved_model.load(saved_model_dir).signatures['serving_default']
  outputs = {name: value.numpy()
             for name, value in serve(text=tf.constant(texts)).items()}
  lines = []
  for row, text in enumerate(texts):
    lines += ['', text]
    num_masks = outputs['num_masks'][row]
    if not num_masks:
      lines.append('  no [MASK] in it')
    for mask in range(num_masks):
      if num_masks > 1:
        lines.append(f'  [MASK] {mask + 1}')
      lines += [
          f'  {token.decode():<16} {probability:7.2%}  '
          + '█' * round(_BAR_CELLS * float(probability))
          for token, probability in zip(outputs['tokens'][row, mask],
                                        outputs['probabilities'][row, mask])]
    if left_out := outputs['num_masks_left_out'][row]:
      lines.append(f'  {left_out} more [MASK] left out: too many, or too far back')
  return '\n'.join(line.rstrip() for line in lines[1:])
