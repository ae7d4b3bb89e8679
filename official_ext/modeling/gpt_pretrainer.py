"""GPT pre-training model whose decoder can be replaced in the middle of a run."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import tensorflow as tf, tf_keras

from official_ext.growth.architecture import Architecture
from official_ext.modeling import gpt_decoder
from official_ext.modeling import growing_training
from official_ext.modeling import losses
from official_ext.modeling.weighted_norm import NormAnnealing


@tf_keras.utils.register_keras_serializable(package='official_ext')
class GrowingGptPretrainer(growing_training.GrowingTraining, tf_keras.Model):
  """A `GrowingGptDecoder` that learns to predict each next token.

  It trains as `GrowingTraining` says, on `input_word_ids` and `input_mask`,
  `[batch, sequence]`. Each token is the label of the one before it; the loss is
  the mean over all labels of the *global* batch that are no padding.

  Args:
    architecture: what to build, of family 'gpt'; the dict of its fields is
      accepted too.
    output_dropout: dropout rate after embeddings, attention and feed-forward.
    attention_dropout: dropout rate of the attention probabilities.
    initializer_stddev: spread of the truncated normal that fills embeddings
      and kernels.
    gradient_clip_norm: greatest global norm of the gradients; 0 does not clip.
    gradient_accumulation_steps: micro-batches of a step, see `GrowingTraining`.
    dropout_seed: seed of the dropout masks, see `dropout_state`.
    name: name of the model.

  Attributes:
    architecture: what the model is now.
    decoder: the network.
    dropout_generator: random state of all dropout layers, part of checkpoints.
    non_finite_watch: when the loss stopped being finite, if it did.
  """

  def __init__(
      self,
      architecture: Architecture | dict[str, Any],
      *,
      output_dropout: float = 0.1,
      attention_dropout: float = 0.1,
      initializer_stddev: float = 0.02,
      gradient_clip_norm: float = 1.0,
      gradient_accumulation_steps: int = 1,
      dropout_seed: int = 0,
      name: str = 'gpt',
      **kwargs):
    if not isinstance(architecture, Architecture):
      architecture = Architecture(**architecture)
    super().__init__(name=name, **kwargs)
    # A tuple, which Keras leaves alone; a dict it would wrap and track.
    self._options = tuple(dict(
        output_dropout=output_dropout,
        attention_dropout=attention_dropout,
        initializer_stddev=initializer_stddev).items())
    self._start_training(
        gradient_clip_norm=gradient_clip_norm, dropout_seed=dropout_seed,
        gradient_accumulation_steps=gradient_accumulation_steps)
    self._build_decoder(architecture)
    self._loss = tf_keras.metrics.Mean(name='loss')
    self._causal_lm_loss = tf_keras.metrics.Mean(name='causal_lm_loss')
    self._causal_lm_accuracy = tf_keras.metrics.SparseCategoricalAccuracy(
        name='causal_lm_accuracy')

  def _build_decoder(self, architecture: Architecture) -> None:
    self.architecture = architecture
    self.decoder = gpt_decoder.GrowingGptDecoder(
        architecture, **dict(self._options))
    token = tf.zeros([1, 1], tf.int32)
    self.decoder({'input_word_ids': token, 'input_mask': token})
    self.built = True
    self._finish_network()

  def _replace_network(self, architecture: Architecture) -> None:
    self._build_decoder(architecture)
    self._remake_functions()

  def call(self, inputs):
    """What `GrowingGptDecoder` returns for all its blocks."""
    return self.decoder(inputs)

  def forward(self, features, training, *, num_layers=None,
              trained_layers=None):
    """See `GrowingTraining`."""
    return self.decoder(
        features, num_layers=num_layers, trained_layers=trained_layers,
        training=training)

  def comparison_logits(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The function by which growth is compared, dropout off.

    Args:
      features: `input_word_ids` and `input_mask`, `[batch, sequence]`.

    Returns:
      `[batch, sequence, vocabulary]` floats.
    """
    return self.decoder(features, training=False)['logits']

  @property
  def norm_annealing(self) -> NormAnnealing | None:
    """See `GrowingTraining`."""
    return self.decoder.norm_annealing

  @property
  def checkpoint_items(self) -> dict[str, Any]:
    """What a checkpoint holds beside the model itself."""
    return {'decoder': self.decoder}

  def loss_sums(self, features, outputs):
    """See `GrowingTraining`: the one sum, over the labels."""
    labels, weights = next_tokens(features)
    return (losses.masked_lm_sums(labels, outputs['logits'], weights),)

  def loss_weights(self, features):
    """See `GrowingTraining`."""
    _, weights = next_tokens(features)
    return [losses.total_weight(weights)]

  def update_metrics(self, features, outputs, causal_lm):
    """See `GrowingTraining`."""
    mean = tf.math.divide_no_nan(*causal_lm)
    self._loss.update_state(mean, causal_lm.weight)
    self._causal_lm_loss.update_state(mean, causal_lm.weight)
    labels, weights = next_tokens(features)
    self._causal_lm_accuracy.update_state(labels, outputs['logits'], weights)

  def get_config(self):
    return {
        'architecture': dataclasses.asdict(self.architecture),
        **dict(self._options),
        'gradient_clip_norm': self.gradient_clip_norm,
        'gradient_accumulation_steps': self.gradient_accumulation_steps,
        'dropout_seed': self._dropout_seed,
        'name': self.name,
    }


def next_tokens(features: Mapping[str, tf.Tensor]
                ) -> tuple[tf.Tensor, tf.Tensor]:
  """The label of each token.

  Args:
    features: `input_word_ids` and `input_mask`, `[batch, sequence]`.

  Returns:
    Labels, and weights: 1 where the label is a token and 0 where it is padding
    or beyond the end. Both `[batch, sequence]`, so that the logits, much the
    largest tensor, need not be cut.
  """
  def shifted(values):
    return tf.concat([values[:, 1:], tf.zeros_like(values[:, :1])], axis=1)

  return (shifted(features['input_word_ids']),
          shifted(tf.cast(features['input_mask'], tf.float32)))
