"""Tries a SavedModel of any kind on texts."""

from collections.abc import Sequence

import tensorflow as tf
# Registers the tokenizer's ops.
import tensorflow_text as _

from official_ext.export.continuations import continuations
from official_ext.export.filled_masks import filled_masks_table

# Between the two texts of a pair.
SEPARATOR = ' ||| '


def try_texts(saved_model_dir: str, texts: Sequence[str]) -> str:
  """Does with texts what the model was made for.

  Args:
    saved_model_dir: one version of an exported SavedModel with signature
      `generate` of a GPT, or `serving_default` of any other.
    texts: with masks in them, beginnings, texts, or pairs with `SEPARATOR`
      between.

  Returns:
    Lines to print.

  Raises:
    ValueError: a text is no pair where one is wanted, or there is nothing to
      show of the model.
  """
  signatures = tf.saved_model.load(saved_model_dir).signatures
  if 'generate' in signatures:
    return continuations(saved_model_dir, texts)
  signature = signatures['serving_default']
  if 'num_masks' in signature.structured_outputs:
    return filled_masks_table(saved_model_dir, texts)
  names = [name for name in ('text', 'second_text', 'question', 'context')
           if name in signature.structured_input_signature[1]]
  rows = [text.split(SEPARATOR) for text in texts]
  wrong = [text for text, row in zip(texts, rows) if len(row) != len(names)]
  if wrong:
    raise ValueError(
        f'--try is {wrong[0]!r}; this model takes '
        f'{SEPARATOR.join(names)!r}.')
  outputs = {name: value.numpy() for name, value in signature(
      **{name: tf.constant([row[column] for row in rows])
         for column, name in enumerate(names)}).items()}
  lines = []
  for index, text in enumerate(texts):
    lines += ['', text, *_shown(outputs, index)]
  return '\n'.join(lines[1:])


def _shown(outputs, index) -> list[str]:
  """What there is to say of one text."""
  if 'probabilities' in outputs:
    found = sorted(zip(outputs['probabilities'][index],
                       outputs['labels'][index]), reverse=True)
    return [f'  {label.decode():<16} {probability:7.2%}'
            for probability, label in found]
  if 'answer' in outputs:
    start, end = outputs['start'][index], outputs['end'][index]
    if not outputs['is_answered'][index]:
      return ['  no answer']
    return [f"  {outputs['answer'][index].decode()}  "
            f'(characters {start} to {end})']
  if 'pooled_output' in outputs:
    vector = outputs['pooled_output'][index]
    beginning = ' '.join(f'{value:.3f}' for value in vector[:6])
    return [f'  {vector.size} numbers: {beginning} …']
  return [f"  {outputs['score'][index]:.3f}"]
