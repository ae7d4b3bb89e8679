"""A treated model's predictions as if its queries were not pooled."""

from collections.abc import Mapping

from official.nlp.modeling import networks
import tensorflow as tf


def unpooled_logits(model, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
  """Masked-LM logits of the whole sequence, dropout off.

  Pooling has no weights, so this is the function by which the weights before
  and after a growth can be compared even where the growth ends the pooling.

  Args:
    model: a `GrowingBertPretrainer`.
    features: Model Garden's pre-training features.

  Returns:
    `[batch, predictions, vocabulary]` floats.
  """
  # The stock call on the same layers: what the growing encoder itself does
  # once it is untreated.
  outputs = networks.BertEncoderV2.call(model.encoder_network, dict(features))
  return model.masked_lm(
      outputs['sequence_output'],
      masked_positions=features['masked_lm_positions'])
