"""Keras models that can grow."""

from official_ext.modeling.encoder import GrowingBertEncoder
from official_ext.modeling.pretrainer import GrowingBertPretrainer
