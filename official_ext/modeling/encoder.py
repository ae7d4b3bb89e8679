"""A BERT encoder with the treatments of its stages, that runs in part too."""

from typing import Any

import tensorflow as tf, tf_keras

from official.nlp.modeling import networks

from official_ext.growth.architecture import Architecture
from official_ext.modeling import activations
from official_ext.modeling import encoder_block
from official_ext.modeling import query_pooling
from official_ext.modeling import weighted_norm


_STOCK_NORM_EPSILON = 1e-12


@tf_keras.utils.register_keras_serializable(package='official_ext')
class GrowingBertEncoder(networks.BertEncoderV2):
  """`BertEncoderV2` with the treatments of `Architecture`.

  Untreated it is a `BertEncoderV2`: same variables, same names, same call.

  *FFN sharing* by k (CompoundGrow, section 3.2) stores `inner_dim / k` inner
  units; nothing else about the blocks changes. A *factorised* feed-forward
  block and *weighted LayerNorms* are those of `GrowingEncoderBlock`, which every
  block is.

  *Pooled queries* (section 3.1) shorten the sequence after layer 0, see
  `query_pooling`. The call then also reads `masked_lm_positions`, and its
  `sequence_output` is `[batch, 1 + slots + predictions, hidden]`: [CLS], the
  slots, one row per prediction in the order of `masked_lm_positions`. Row 0 is
  [CLS], so `pooled_output` and heads with `cls_token_idx=0` need no change.
  Without `masked_lm_positions` no token counts as masked and all but [CLS] are
  pooled; to read one vector a token, build the encoder with
  `query_pool_size=1`, which has the same weights.

  Args:
    vocab_size: rows of the word embedding.
    query_pool_size: consecutive unmasked tokens that share a layer-0 query.
    query_pool_type: 'mean' or 'max'.
    ffn_sharing: divisor of `inner_dim`.
    inner_dim: inner units of the *untreated* feed-forward block.
    ffn_rank: rank of a factorised feed-forward block; None does not factorise.
    norm_epsilon: added to the variance in every LayerNorm.
    norm_source_size: see `WeightedLayerNormalization`; None means ordinary
      LayerNorms.
    **kwargs: those of `BertEncoderV2`.

  Raises:
    ValueError: if `ffn_sharing` does not divide `inner_dim`, the pooling is
      unknown, or an argument does not go with pooled queries.
  """

  def __init__(
      self,
      vocab_size: int,
      *,
      query_pool_size: int = 1,
      query_pool_type: str = 'mean',
      ffn_sharing: int = 1,
      inner_dim: int = 3072,
      ffn_rank: int | None = None,
      norm_epsilon: float = _STOCK_NORM_EPSILON,
      norm_source_size: int | None = None,
      **kwargs):
    for name, value in (('query_pool_size', query_pool_size),
                        ('ffn_sharing', ffn_sharing)):
      if not isinstance(value, int) or value < 1:
        raise ValueError(
            f'{name} is {value!r}; give a whole number of at least 1.')
    if inner_dim % ffn_sharing:
      raise ValueError(
          f'inner_dim {inner_dim} is not a multiple of ffn_sharing '
          f'{ffn_sharing}; choose a divisor.')
    if query_pool_type not in query_pooling.POOL_TYPES:
      raise ValueError(
          f'query_pool_type is {query_pool_type!r}; choose one of '
          f'{", ".join(query_pooling.POOL_TYPES)}.')
    unsupported = [
        name for name in ('output_range', 'with_dense_inputs',
                          'return_attention_scores', 'return_word_embeddings')
        if kwargs.get(name)]
    if query_pool_size > 1 and unsupported:
      raise ValueError(
          f'query_pool_size {query_pool_size} does not go with '
          f'{", ".join(unsupported)}; leave those out or do not pool.')
    super().__init__(vocab_size, inner_dim=inner_dim // ffn_sharing, **kwargs)
    self._inner_dim = inner_dim
    self._query_pool_size = query_pool_size
    self._query_pool_type = query_pool_type
    self._ffn_sharing = ffn_sharing
    self._ffn_rank = ffn_rank
    self._norm_epsilon = norm_epsilon
    self._norm_source_size = norm_source_size
    self.norm_annealing = (
        None if norm_source_size is None else weighted_norm.NormAnnealing())
    self._treat_layers()

  def _treat_layers(self):
    """Puts other layers, none of them built yet, in the place of stock ones."""
    self._embedding_norm_layer.epsilon = self._norm_epsilon
    self._embedding_norm_layer = weighted_norm.norm_like(
        self._embedding_norm_layer, self._norm_source_size,
        self.norm_annealing)
    self._transformer_layers = [
        encoder_block.GrowingEncoderBlock(
            ffn_rank=self._ffn_rank, norm_source_size=self._norm_source_size,
            norm_annealing=self.norm_annealing,
            **{**layer.get_config(), 'norm_epsilon': self._norm_epsilon})
        for layer in self._transformer_layers]
    # Last again, so that variables come in the order of a stock encoder.
    pooler_layer = self._pooler_layer
    del self._pooler_layer
    self._pooler_layer = pooler_layer

  @classmethod
  def from_architecture(
      cls,
      architecture: Architecture,
      *,
      output_dropout: float = 0.1,
      attention_dropout: float = 0.1,
      query_pool_type: str = 'mean',
      initializer_stddev: float = 0.02,
      **kwargs: Any) -> 'GrowingBertEncoder':
    """Builds the encoder that an architecture describes.

    Args:
      architecture: shape and treatments.
      output_dropout: dropout rate after embeddings, attention and feed-forward.
      attention_dropout: dropout rate of the attention probabilities.
      query_pool_type: 'mean' or 'max'.
      initializer_stddev: spread of the truncated normal that fills all kernels.
      **kwargs: anything else that the constructor takes.

    Raises:
      ValueError: if Model Garden's encoder cannot have that shape.
    """
    expected = architecture.hidden_size // architecture.num_heads
    if architecture.head_size * architecture.num_heads != (
        architecture.hidden_size):
      raise ValueError(
          f'head_size {architecture.head_size} with num_heads '
          f'{architecture.num_heads} does not make hidden_size '
          f'{architecture.hidden_size}; BertEncoderV2 always uses heads of '
          f'hidden_size // num_heads = {expected}, leave head_size out.')
    return cls(
        architecture.vocab_size,
        query_pool_size=architecture.query_pool_size,
        query_pool_type=query_pool_type,
        ffn_sharing=architecture.ffn_sharing,
        inner_dim=architecture.inner_size,
        hidden_size=architecture.hidden_size,
        num_layers=architecture.num_layers,
        num_attention_heads=architecture.num_heads,
        max_sequence_length=architecture.max_positions,
        type_vocab_size=architecture.type_vocab_size,
        inner_activation=activations.activation_named(architecture.activation),
        ffn_rank=architecture.ffn_rank,
        norm_epsilon=architecture.norm_epsilon,
        norm_source_size=architecture.norm_source_size,
        output_dropout=output_dropout,
        attention_dropout=attention_dropout,
        initializer=tf_keras.initializers.TruncatedNormal(
            stddev=initializer_stddev),
        **kwargs)

  def call(self, inputs, num_layers: int | None = None,
           trained_layers: int | None = None, predictions_only: bool = False):
    """Encodes a batch.

    Args:
      inputs: dict of `input_word_ids`, `input_mask`, `input_type_ids`, each
        `[batch, sequence]` integers, and, if queries are pooled,
        `masked_lm_positions` `[batch, predictions]` integers.
      num_layers: how many blocks, from the bottom, are run; None means all.
      trained_layers: how many of those, from the top, the gradient reaches;
        None means all of them, and the embeddings.
      predictions_only: whether the last block is computed only where
        pre-training reads it, at [CLS] and at the masked tokens. What it yields
        there is the same, for less: in a row that no head reads, a block costs
        no more than its keys and values.

    Returns:
      The dict of `BertEncoderV2`; with pooled queries also `overflow_tokens`,
      `[batch]` int32. With `predictions_only` the `sequence_output` is
      `[batch, 1 + predictions, hidden]`.
    """
    if (self._query_pool_size == 1 and not predictions_only
        and num_layers is trained_layers is None):
      return super().call(inputs)
    blocks = self._transformer_layers[:num_layers]
    first_trained = (
        None if trained_layers is None else len(blocks) - trained_layers)

    embeddings = self._embed(inputs)
    if first_trained == 0:
      embeddings = tf.stop_gradient(embeddings)
    outputs = {}
    if self._query_pool_size > 1:
      pooled = query_pooling.pool_queries(
          embeddings, inputs['input_mask'], inputs.get('masked_lm_positions'),
          self._query_pool_size, self._query_pool_type)
      outputs['overflow_tokens'] = pooled.overflow_tokens
      # [batch, 1, keys]: broadcasts over the queries inside the softmax.
      mask, first_mask = (
          tf.cast(mask, embeddings.dtype)[:, tf.newaxis, :]
          for mask in (pooled.mask, inputs['input_mask']))
      x, keys = pooled.queries, embeddings
    else:
      mask = first_mask = self._attention_mask_layer(
          embeddings, inputs['input_mask'])
      x = keys = embeddings

    encoder_outputs = []
    for index, block in enumerate(blocks):
      if index:
        if index == first_trained:
          x = tf.stop_gradient(x)
        keys = x
      block_mask = mask if index else first_mask
      if predictions_only and index == len(blocks) - 1:
        x = self._read_rows(x, inputs['masked_lm_positions'])
        # All queries look at the same keys.
        block_mask = block_mask[:, :1]
      x = block([x, block_mask] if x is keys else [x, keys, block_mask])
      encoder_outputs.append(x)
    return dict(
        sequence_output=x,
        pooled_output=self._pooler_layer(x[:, 0, :]),
        encoder_outputs=encoder_outputs,
        **outputs)

  def _read_rows(self, x: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """`[batch, 1 + predictions, hidden]`: what the heads read of a block.

    Args:
      x: `[batch, rows, hidden]`, of a pooled sequence in the order of
        `query_pooling`.
      positions: `[batch, predictions]` integers, in the whole sequence.
    """
    if self._query_pool_size > 1:
      predictions = x[:, tf.shape(x)[1] - tf.shape(positions)[1]:]
      predictions = tf.ensure_shape(
          predictions, [None, positions.shape[1], None])
    else:
      predictions = tf.gather(x, positions, batch_dims=1)
    return tf.concat([x[:, :1], predictions], axis=1)

  def _embed(self, inputs) -> tf.Tensor:
    """The input `[batch, sequence, hidden]` of the first block."""
    embeddings = self._get_embeddings(
        inputs['input_word_ids'], inputs['input_type_ids'],
        inputs.get('input_word_embeddings'), None, None)
    embeddings = self._embedding_norm_layer(embeddings)
    embeddings = self._embedding_dropout(embeddings)
    if self._embedding_projection is not None:
      embeddings = self._embedding_projection(embeddings)
    return embeddings

  @property
  def query_pool_size(self) -> int:
    return self._query_pool_size

  def get_config(self):
    return {
        **super().get_config(),
        'inner_dim': self._inner_dim,
        'query_pool_size': self._query_pool_size,
        'query_pool_type': self._query_pool_type,
        'ffn_sharing': self._ffn_sharing,
        'ffn_rank': self._ffn_rank,
        'norm_epsilon': self._norm_epsilon,
        'norm_source_size': self._norm_source_size,
    }
