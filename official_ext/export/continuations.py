"""Continuations of texts by a SavedModel, to look at."""

from collections.abc import Sequence

import tensorflow as tf
# Registers the tokenizer's ops.
import tensorflow_text as _

_NEW_TOKENS = 32
# The likeliest text, and one that is drawn without the tail of rare pieces.
_WAYS = {'likeliest': dict(temperature=0.0, top_p=1.0),
         'drawn': dict(temperature=0.8, top_p=0.95)}


def continuations(saved_model_dir: str, texts: Sequence[str]) -> str:
  """Continues texts through signature `generate`, in two ways.

  Args:
    saved_model_dir: one version of an exported SavedModel of a GPT.
    texts: beginnings of texts.

  Returns:
    Lines: every text, and under it how it may go on.
  """
  generate = tf.saved_model.load(saved_model_dir).signatures['generate']
  found = {
      way: generate(
          text=tf.constant(texts), max_new_tokens=tf.constant(_NEW_TOKENS),
          top_k=tf.constant(0), stop_token=tf.constant(''),
          **{name: tf.constant(value) for name, value in options.items()})
      for way, options in _WAYS.items()}
  lines = []
  for row, text in enumerate(texts):
    lines += ['', text]
    for way, outputs in found.items():
      continuation = outputs['continuation'][row].numpy().decode()
      # Whether the text ended or the tokens did.
      end = '∎' if outputs['is_finished'][row] else '…'
      lines.append(f'  {way:<9} …{continuation} {end}')
  return '\n'.join(lines[1:])
