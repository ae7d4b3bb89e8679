"""Keras models that can grow."""

from official_ext.modeling.encoder import GrowingBertEncoder
from official_ext.modeling.pretrainer import GrowingBertPretrainer
from official_ext.modeling.unpooled import unpooled_logits
