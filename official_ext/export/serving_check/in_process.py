"""What a model answers in this process: Keras, padded rows, no signature.

The tokenizer is that of the training data, not the one of the signatures.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from official_ext.data.tokenizer import build_tokenizer
from official_ext.data.tokenizer import Tokenizer
from official_ext.export.served_model import ServedModel

_BATCH_SIZE = 32
# Of each kind, the signature that is compared and the output of it.
COMPARED = {
    'bert': ('embed', 'pooled_output'),
    'encoder': ('serving_default', 'pooled_output'),
    'classification': ('serving_default', 'probabilities'),
    'regression': ('serving_default', 'score'),
}


def in_process_answers(served: ServedModel,
                       requests: Sequence[Mapping[str, str]]) -> np.ndarray:
  """Answers of a model to requests of one example each.

  Args:
    served: of a kind in `COMPARED`.
    requests: of each, `text` and, for a pair, `second_text`.

  Returns:
    float32 [requests, ...], the output that is compared.
  """
  rows = _rows(served, requests)
  order = sorted(range(len(rows)), key=lambda row: len(rows[row][0]))
  run = tf.function(lambda inputs: _outputs(served, inputs),
                    reduce_retracing=True)
  found = [None] * len(rows)
  for start in range(0, len(order), _BATCH_SIZE):
    batch = order[start:start + _BATCH_SIZE]
    length = max(len(rows[row][0]) for row in batch)
    inputs = np.zeros([3, len(batch), length], np.int32)
    for place, row in enumerate(batch):
      words, types = rows[row]
      inputs[:, place, :len(words)] = words, [1] * len(words), types
    outputs = run({
        name: tf.constant(values) for name, values in zip(
            ('input_word_ids', 'input_mask', 'input_type_ids'), inputs)})
    for row, output in zip(batch, outputs.numpy()):
      found[row] = output
  return np.stack(found)


def _outputs(served: ServedModel, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
  if served.kind == 'classification':
    return tf.nn.softmax(served.model(inputs, training=False))
  if served.kind == 'regression':
    return served.model(inputs, training=False)[:, 0]
  sequence = served.model.encoder_network(
      inputs, training=False)['sequence_output']
  if served.model.classification_heads:
    return served.model.classification_heads[0](sequence, only_project=True)
  is_token = tf.cast(inputs['input_mask'], tf.float32)
  return (tf.einsum('bl,blh->bh', is_token, sequence)
          / tf.reduce_sum(is_token, axis=1, keepdims=True))


def _rows(served: ServedModel, requests: Sequence[Mapping[str, str]]
          ) -> list[tuple[list[int], list[int]]]:
  """Word and type ids of each request."""
  tokenizer = build_tokenizer(
      served.vocabulary_file, lower_case=served.lower_case)
  length = (served.finetuned.task.seq_length if served.finetuned
            else served.architecture.sequence_length)
  tokenize = tokenizer if served.finetuned else tokenizer.tokenize_with_masks

  def tokens(name):
    return tokenize(tf.constant([request[name] for request in requests])
                    ).to_list()
  if 'second_text' in requests[0]:
    return [_pair(tokenizer, *pair, length)
            for pair in zip(tokens('text'), tokens('second_text'))]
  return [_pair(tokenizer, row, None, length) for row in tokens('text')]


def _pair(tokenizer: Tokenizer, first: list[int], second: list[int] | None,
          length: int) -> tuple[list[int], list[int]]:
  room = length - (2 if second is None else 3)
  while len(first) + len(second or ()) > room:
    longer = second if second is not None and len(second) >= len(first) else first
    longer.pop()
  words = [tokenizer.cls_id, *first, tokenizer.sep_id]
  types = [0] * len(words)
  if second is not None:
    words += [*second, tokenizer.sep_id]
    types += [1] * (len(second) + 1)
  return words, types
