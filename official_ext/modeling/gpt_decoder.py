"""A GPT decoder of Model Garden's layers, with the treatments of its stages."""

from collections.abc import Mapping

import tensorflow as tf, tf_keras

from official.nlp.modeling import layers

from official_ext.growth.architecture import Architecture
from official_ext.modeling.activations import activation_named
from official_ext.modeling.encoder_block import GrowingEncoderBlock
from official_ext.modeling.weighted_norm import norm_like
from official_ext.modeling.weighted_norm import NormAnnealing

Cache = dict[str, tf.Tensor]


@tf_keras.utils.register_keras_serializable(package='official_ext')
class GrowingGptDecoder(tf_keras.layers.Layer):
  """GPT-2's decoder (Radford et al., 2019): LayerNorms before the sublayers.

  Word and position embeddings, dropout, blocks whose tokens attend to
  themselves and to what stands before them, a last LayerNorm, and logits
  through the transposed word embedding, without a bias. There are no segments
  and no LayerNorm after the embeddings.

  Departs from GPT-2 in one thing: the kernels that write to the residual stream
  start as wide as all others and not divided by the root of the number of
  layers, which grows. Under mixed_bfloat16 the residual stream is bfloat16, as
  Model Garden's blocks have it where LayerNorms stand first; those themselves
  are float32.

  Args:
    architecture: shape and treatments, of family 'gpt'.
    output_dropout: dropout rate after embeddings, attention and feed-forward.
    attention_dropout: dropout rate of the attention probabilities.
    initializer_stddev: spread of the truncated normal that fills embeddings
      and kernels.

  Attributes:
    norm_annealing: how far weighted LayerNorms are on their way to ordinary
      ones; None if they are ordinary.

  Raises:
    ValueError: if the architecture is of another family.
  """

  def __init__(
      self,
      architecture: Architecture,
      *,
      output_dropout: float = 0.1,
      attention_dropout: float = 0.1,
      initializer_stddev: float = 0.02,
      name: str = 'decoder',
      **kwargs):
    if architecture.family != 'gpt':
      raise ValueError(
          f'family is {architecture.family!r}; GrowingGptDecoder builds '
          "'gpt' only, GrowingBertPretrainer builds 'bert'.")
    super().__init__(name=name, **kwargs)

    def initializer():
      return tf_keras.initializers.TruncatedNormal(stddev=initializer_stddev)

    self._architecture = architecture
    source_size = architecture.norm_source_size
    self.norm_annealing = None if source_size is None else NormAnnealing()
    self.word_embedding = layers.OnDeviceEmbedding(
        architecture.vocab_size, architecture.hidden_size,
        initializer=initializer(), name='word_embeddings')
    self.position_embedding = layers.PositionEmbedding(
        architecture.max_positions, initializer=initializer(),
        name='position_embedding')
    self.embedding_dropout = tf_keras.layers.Dropout(
        output_dropout, name='embedding_dropout')
    self.transformer_layers = [
        GrowingEncoderBlock(
            ffn_rank=architecture.ffn_rank,
            norm_source_size=source_size,
            norm_annealing=self.norm_annealing,
            num_attention_heads=architecture.num_heads,
            inner_dim=architecture.stored_inner_size,
            inner_activation=activation_named(architecture.activation),
            kernel_initializer=initializer(),
            norm_first=True,
            norm_epsilon=architecture.norm_epsilon,
            output_dropout=output_dropout,
            attention_dropout=attention_dropout,
            # Heads of any size: what they yield is projected to the stream.
            key_dim=architecture.head_size,
            output_last_dim=architecture.hidden_size,
            name=f'transformer/layer_{index}')
        for index in range(architecture.num_layers)]
    self.final_norm = norm_like(
        tf_keras.layers.LayerNormalization(
            axis=-1, epsilon=architecture.norm_epsilon, dtype=tf.float32,
            # 'layer_norm' in the name keeps weight decay away.
            name='final_layer_norm'),
        source_size, self.norm_annealing)

  def call(self, inputs: Mapping[str, tf.Tensor], *,
           num_layers: int | None = None, trained_layers: int | None = None
           ) -> dict[str, tf.Tensor]:
    """Predicts each next token.

    Args:
      inputs: dict of `input_word_ids` and `input_mask`, both
        `[batch, sequence]` integers.
      num_layers: how many blocks, from the bottom, are run; None means all.
      trained_layers: how many of those, from the top, the gradient reaches;
        None means all of them, and the embeddings.

    Returns:
      dict of `sequence_output` `[batch, sequence, hidden]`, after the last
      LayerNorm, and `logits` `[batch, sequence, vocab]`.
    """
    word_ids = inputs['input_word_ids']
    x = self.word_embedding(word_ids)
    x = self.embedding_dropout(x + self.position_embedding(x))
    mask = causal_mask(inputs['input_mask'])
    if num_layers is None:
      num_layers = self._architecture.num_layers
    first_trained = (
        None if trained_layers is None else num_layers - trained_layers)
    for index, layer in enumerate(self.transformer_layers[:num_layers]):
      if index == first_trained:
        x = tf.stop_gradient(x)
      x = layer([x, mask])
    x = self.final_norm(x)
    return {'sequence_output': x, 'logits': self.logits(x)}

  def logits(self, hidden: tf.Tensor) -> tf.Tensor:
    """Scores of the vocabulary.

    Args:
      hidden: `[..., hidden]`, after the last LayerNorm.

    Returns:
      `[..., vocab]` in the dtype that the model computes in.
    """
    dtype = tf.as_dtype(self.compute_dtype)
    table = tf.cast(self.word_embedding.embeddings, dtype)
    # One product of two matrices: with axes to broadcast over, the gradient of
    # the table would be made for every token and added up afterwards.
    rows = tf.reshape(tf.cast(hidden, dtype), [-1, table.shape[1]])
    logits = tf.matmul(rows, table, transpose_b=True)
    return tf.reshape(
        logits, tf.concat([tf.shape(hidden)[:-1], [table.shape[0]]], axis=0))

  def empty_cache(self, batch: int | tf.Tensor, length: int) -> Cache:
    """The cache of `step` before the first token, for `length` tokens."""
    shape = [batch, length, self._architecture.hidden_size]
    return {f'layer_{index}': tf.zeros(shape, self.compute_dtype)
            for index in range(self._architecture.num_layers)}

  def step(self, word_ids: tf.Tensor, index: int | tf.Tensor, cache: Cache
           ) -> tuple[tf.Tensor, Cache]:
    """Reads one more token of every row.

    What is kept of earlier tokens is the input of each block. A block then
    projects keys and values anew, which costs more than to keep those, but
    needs nothing but Model Garden's own call with separate queries; running the
    other parts of each block for one token only is what saves.

    Args:
      word_ids: `[batch]` integers, the tokens at position `index`.
      index: 0 for the first token; the rows go on in step.
      cache: what `empty_cache` or the last step gave.

    Returns:
      The hidden state `[batch, hidden]` after the last LayerNorm, and the cache
      for the next step.
    """
    length = cache['layer_0'].shape[1]
    at_index = tf.equal(tf.range(length), index)[tf.newaxis, :, tf.newaxis]
    positions = self.position_embedding(cache['layer_0'][:1])
    x = (self.word_embedding(word_ids[:, tf.newaxis])
         + tf.gather(positions, [index], axis=1))
    is_past = (tf.range(length) <= index)[tf.newaxis, tf.newaxis, :]
    mask = tf.tile(is_past, [tf.shape(word_ids)[0], 1, 1])
    filled = {}
    for number, layer in enumerate(self.transformer_layers):
      name = f'layer_{number}'
      filled[name] = tf.where(at_index, x, cache[name])
      x = layer([x, filled[name], mask])
    return self.final_norm(x)[:, 0], filled


def causal_mask(input_mask: tf.Tensor) -> tf.Tensor:
  """True where a query may look at a key.

  Args:
    input_mask: `[batch, sequence]`, 0 for padding.

  Returns:
    bool `[batch, queries, keys]`: the key is no padding and not after the
    query.
  """
  positions = tf.range(tf.shape(input_mask)[1])
  not_after = positions[:, tf.newaxis] >= positions
  return not_after & tf.not_equal(input_mask, 0)[:, tf.newaxis, :]
