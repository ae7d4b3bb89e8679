"""Model Garden's Transformer block: quicker attention, and nameless treatments."""

from typing import Any

import tensorflow as tf, tf_keras

from official.nlp.modeling import layers

from official_ext.modeling.attention import GrowingAttention
from official_ext.modeling.factorized_dense import FactorizedDense
from official_ext.modeling.weighted_norm import NormAnnealing
from official_ext.modeling.weighted_norm import norm_like


@tf_keras.utils.register_keras_serializable(package='official_ext')
class GrowingEncoderBlock(layers.TransformerEncoderBlock):
  """`TransformerEncoderBlock`, also factorised and with weighted LayerNorms.

  Without a treatment it has the variables of a `TransformerEncoderBlock`, and
  yields the same. Serves encoders and, as LayerNorms may stand first, decoders.

  Args:
    ffn_rank: rank of both dense layers of the feed-forward block
      (CompoundGrow, section 3.2); None does not factorise.
    norm_source_size: see `WeightedLayerNormalization`; None means ordinary
      LayerNorms.
    norm_annealing: the model's.
    **kwargs: those of `TransformerEncoderBlock`.
  """

  def __init__(self, *, ffn_rank: int | None = None,
               norm_source_size: int | None = None,
               norm_annealing: NormAnnealing | None = None, **kwargs: Any):
    super().__init__(**kwargs)
    self._ffn_rank = ffn_rank
    self._norm_source_size = norm_source_size
    self._norm_annealing = norm_annealing

  def build(self, input_shape):
    super().build(input_shape)
    names = [name for name, value in vars(self).items()
             if isinstance(value, tf_keras.layers.Layer)]
    # The parent has made its layers, but built none of them.
    self._attention_layer = GrowingAttention.like(self._attention_layer)
    if self._ffn_rank is not None:
      shape = input_shape if isinstance(
          input_shape, tf.TensorShape) else input_shape[0]
      hidden_size = shape[-1]
      self._intermediate_dense = self._factorized(
          self._inner_dim, self._intermediate_dense.name)
      self._output_dense = self._factorized(
          self._output_last_dim or hidden_size, self._output_dense.name)
    self._attention_layer_norm = norm_like(
        self._attention_layer_norm, self._norm_source_size,
        self._norm_annealing)
    self._attention_layer_norm_kv = self._attention_layer_norm
    self._output_layer_norm = norm_like(
        self._output_layer_norm, self._norm_source_size, self._norm_annealing)
    # What was replaced would come last: variables keep the parent's order.
    layers_in_order = {name: getattr(self, name) for name in names}
    for name in names:
      delattr(self, name)
    for name, layer in layers_in_order.items():
      setattr(self, name, layer)

  def _factorized(self, units: int, name: str) -> FactorizedDense:
    return FactorizedDense(
        self._ffn_rank, units, kernel_initializer=self._kernel_initializer,
        name=name)

  def get_config(self):
    return {
        **super().get_config(),
        'ffn_rank': self._ffn_rank,
        'norm_source_size': self._norm_source_size,
    }
