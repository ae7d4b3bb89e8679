"""Keras models that can grow."""

from official_ext.modeling.encoder import GrowingBertEncoder
from official_ext.modeling.family import build_pretrainer
from official_ext.modeling.gpt_pretrainer import GrowingGptPretrainer
from official_ext.modeling.pretrainer import GrowingBertPretrainer
