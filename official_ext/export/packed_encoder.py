"""A BERT encoder for inference that does no work on padding.

All that is not attention works on single tokens, so the tokens of a batch stand
in one packed matrix there, `[tokens, hidden]`, whatever the lengths of the rows.
The attention alone sees padded rows, in groups of like length, so that a long
row does not make short ones dear. The weights are the encoder's own.
"""

from typing import NamedTuple

import tensorflow as tf, tf_keras

from official_ext.growth.architecture import Architecture
from official_ext.modeling.activations import activation_named
from official_ext.modeling.weights import encoder_variables

_NEVER = -1e9
# Tokens of the longest row of each group but the last.
_GROUPS = (64, 192)


class PackedEncoder:
  """The function of an encoder's `sequence_output`, over the same variables.

  Args:
    encoder: a built `BertEncoderV2`, stock or growing.
    architecture: of the encoder, with ordinary LayerNorms; pooled queries are
      not pooled.

  Raises:
    ValueError: the architecture has weighted LayerNorms.
  """

  def __init__(self, encoder: tf_keras.Model, architecture: Architecture):
    if architecture.norm_source_size is not None:
      raise ValueError(
          'a model with weighted LayerNorms cannot be packed; pad to buckets.')
    self._weights = encoder_variables(encoder)
    self._architecture = architecture
    self._activation = activation_named(architecture.activation)

  def __call__(self, words: tf.RaggedTensor, types: tf.RaggedTensor,
               length: tf.Tensor | int) -> tf.Tensor:
    """Vectors of all tokens.

    Args:
      words: int32 [batch, (tokens)], every row with a token.
      types: int32, alike.
      length: tokens of a row of the result, at least those of the longest.

    Returns:
      float32 [batch, length, hidden], 0 where there is no token.
    """
    # Shortest first, so that the rows of a group are neighbours.
    order = tf.argsort(words.row_lengths(), stable=True)
    words, types = tf.gather(words, order), tf.gather(types, order)
    positions = tf.ragged.range(words.row_lengths()).values
    groups = _groups(words, self._architecture.max_positions)
    hidden = self._embed(words.values, positions, types.values)
    for layer in range(self._architecture.num_layers):
      name = f'layer_{layer}'
      attended = self._attend(f'{name}/attention', hidden, groups)
      hidden = self._norm(f'{name}/attention/norm', hidden + attended)
      inner = self._activation(self._dense(f'{name}/ffn/inner', hidden))
      hidden = self._norm(
          f'{name}/ffn/norm', hidden + self._dense(f'{name}/ffn/output', inner))
    size = self._architecture.hidden_size
    padded = words.with_values(hidden).to_tensor(
        0.0, shape=tf.stack([-1, length, size]))
    padded = tf.gather(padded, tf.math.invert_permutation(order))
    return tf.ensure_shape(padded, [None, None, size])

  def _embed(self, words, positions, types):
    return self._norm('embeddings/norm', sum(
        tf.gather(self._weights[f'embeddings/{table}'], ids)
        for table, ids in (
            ('word', words), ('position', positions), ('type', types))))

  def _attend(self, name, hidden, groups):
    """[tokens, hidden] to [tokens, hidden]."""
    parts = [self._dense(f'{name}/{part}', hidden)
             for part in ('query', 'key', 'value')]
    attended = [self._attend_padded(*parts, group) for group in groups]
    return self._dense(f'{name}/output', tf.concat(attended, axis=0))

  def _attend_padded(self, query, key, value, group):
    """[all tokens, heads * size] to [tokens of the group, heads * size]."""
    heads, size = self._architecture.num_heads, self._architecture.head_size
    batch, longest = tf.unstack(tf.shape(group.sources))

    def split(part):
      padded = tf.reshape(
          tf.gather(part, group.sources), [batch, longest, heads, size])
      return tf.transpose(padded, [0, 2, 1, 3])
    scores = tf.matmul(
        split(query) * size ** -0.5, split(key), transpose_b=True)
    attended = tf.matmul(tf.nn.softmax(scores + group.blocked), split(value))
    attended = tf.reshape(
        tf.transpose(attended, [0, 2, 1, 3]), [batch * longest, heads * size])
    return tf.gather(attended, group.places)

  def _dense(self, name, inputs):
    if f'{name}/kernel_in' in self._weights:
      inputs = tf.matmul(inputs, self._weights[f'{name}/kernel_in'])
      kernel = self._weights[f'{name}/kernel_out']
    else:
      kernel = self._weights[f'{name}/kernel']
    # An attention's kernels are [hidden, heads, size] and [heads, size, hidden].
    kernel = tf.reshape(kernel, [inputs.shape[-1], -1])
    bias = tf.reshape(self._weights[f'{name}/bias'], [-1])
    return tf.nn.bias_add(tf.matmul(inputs, kernel), bias)

  def _norm(self, name, inputs):
    mean, variance = tf.nn.moments(inputs, axes=[-1], keepdims=True)
    scale = tf.math.rsqrt(variance + self._architecture.norm_epsilon)
    return ((inputs - mean) * scale * self._weights[f'{name}/gamma']
            + self._weights[f'{name}/beta'])


class _Group(NamedTuple):
  """Rows of like length, for the attention.

  Attributes:
    sources: int32 [rows, longest], the token that stands at each place; any
      where there is none.
    places: int64 [tokens], where among all places a token stands.
    blocked: float32 [rows, 1, 1, longest], 0 where there is a token.
  """

  sources: tf.Tensor
  places: tf.Tensor
  blocked: tf.Tensor


def _groups(words: tf.RaggedTensor, max_positions: int) -> list[_Group]:
  """Groups of rows that are sorted by length; together they are all rows."""
  sizes = words.row_lengths()
  tokens = words.with_values(tf.range(tf.size(words.values)))
  groups, first = [], 0
  for longest in (*(each for each in _GROUPS if each < max_positions), None):
    last = (words.nrows() if longest is None else
            tf.math.count_nonzero(sizes <= longest))
    rows = tokens[first:last]
    padded = rows.to_tensor(0)
    width = tf.shape(padded, tf.int64)[1]
    groups.append(_Group(
        padded,
        rows.value_rowids() * width + tf.ragged.range(rows.row_lengths()).values,
        tf.where(tf.sequence_mask(rows.row_lengths(), width), 0.0, _NEVER)
        [:, tf.newaxis, tf.newaxis, :]))
    first = last
  return groups
