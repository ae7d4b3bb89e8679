"""BERT pre-training model whose encoder can be replaced in the middle of a run."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import tensorflow as tf, tf_keras

from official.nlp.modeling import layers
from official.nlp.modeling import models
from official.nlp.modeling import networks

from official_ext.growth.architecture import Architecture
from official_ext.modeling import activations
from official_ext.modeling import encoder as encoder_lib
from official_ext.modeling import growing_training
from official_ext.modeling import losses
from official_ext.modeling import weighted_norm

NEXT_SENTENCE = 'next_sentence'


@tf_keras.utils.register_keras_serializable(package='official_ext')
class GrowingBertPretrainer(
    growing_training.GrowingTraining, models.BertPretrainerV2):
  """`BertPretrainerV2` that is built from an `Architecture` and trains itself.

  Untreated, its outputs are those of a stock `BertPretrainerV2` with the same
  weights, and `tf.train.Checkpoint(model=it, **it.checkpoint_items)` restores
  strictly into stock objects.

  It trains as `GrowingTraining` says, on Model Garden's pre-training features:
  `input_word_ids`, `input_mask`, `input_type_ids` `[batch, sequence]`,
  `masked_lm_positions`, `masked_lm_ids`, `masked_lm_weights`
  `[batch, predictions]`, `next_sentence_labels` `[batch, 1]`. The loss is the
  mean over all masked tokens of the *global* batch plus the mean next-sentence
  loss.

  Args:
    architecture: what to build; the dict of its fields is accepted too.
    output_dropout: dropout rate after embeddings, attention and feed-forward,
      and in the next-sentence head.
    attention_dropout: dropout rate of the attention probabilities.
    query_pool_type: 'mean' or 'max', how pooled queries are formed.
    use_next_sentence: whether there is a next-sentence head.
    initializer_stddev: spread of the truncated normal that fills all kernels.
    gradient_clip_norm: greatest global norm of the gradients; 0 does not clip.
    gradient_accumulation_steps: micro-batches of a step, see `GrowingTraining`.
    dropout_seed: seed of the dropout masks, see `dropout_state`.
    name: name of the model.

  Attributes:
    architecture: what the model is now.
    dropout_generator: random state of all dropout layers, part of checkpoints.
    non_finite_watch: when the loss stopped being finite, if it did.
  """

  def __init__(
      self,
      architecture: Architecture | dict[str, Any],
      *,
      output_dropout: float = 0.1,
      attention_dropout: float = 0.1,
      query_pool_type: str = 'mean',
      use_next_sentence: bool = True,
      initializer_stddev: float = 0.02,
      gradient_clip_norm: float = 1.0,
      gradient_accumulation_steps: int = 1,
      dropout_seed: int = 0,
      name: str = 'bert',
      **kwargs):
    if not isinstance(architecture, Architecture):
      architecture = Architecture(**architecture)
    options = dict(
        output_dropout=output_dropout,
        attention_dropout=attention_dropout,
        query_pool_type=query_pool_type,
        use_next_sentence=use_next_sentence,
        initializer_stddev=initializer_stddev)
    super().__init__(**_parts(architecture, **options), name=name, **kwargs)
    self._options = tuple(options.items())
    self.architecture = architecture
    self._start_training(
        gradient_clip_norm=gradient_clip_norm, dropout_seed=dropout_seed,
        gradient_accumulation_steps=gradient_accumulation_steps)
    self._finish_network()

    self._loss = losses.PretrainingLoss()
    self._masked_lm_loss = tf_keras.metrics.Mean(name='masked_lm_loss')
    self._masked_lm_accuracy = tf_keras.metrics.Mean(name='masked_lm_accuracy')
    if use_next_sentence:
      self._next_sentence_loss = tf_keras.metrics.Mean(
          name='next_sentence_loss')
      self._next_sentence_accuracy = tf_keras.metrics.Mean(
          name='next_sentence_accuracy')
    self._overflow_tokens = tf_keras.metrics.Sum(name='overflow_tokens')

  def _finish_network(self):
    """Builds the heads, drops the constructor's record, shares the dropout."""
    # BertPretrainerV2 keeps the parts it was built from here; they would stay
    # alive, and in checkpoints, after they have been replaced.
    self._config = {}
    hidden = self.encoder_network(self.encoder_network.inputs)
    self._build_masked_lm(hidden['sequence_output'])
    for head in self.classification_heads:
      head(hidden['sequence_output'])
    super()._finish_network()

  def _build_masked_lm(self, sequence_output):
    def build():
      self.masked_lm(
          sequence_output, masked_positions=self.inputs['masked_lm_positions'])

    build()
    # It can be told neither epsilon nor statistics.
    self.masked_lm.layer_norm.epsilon = self.architecture.norm_epsilon
    norm = weighted_norm.norm_like(
        self.masked_lm.layer_norm, self.architecture.norm_source_size,
        self.norm_annealing)
    if norm is not self.masked_lm.layer_norm:
      self.masked_lm.layer_norm = norm
      build()

  def _replace_network(self, architecture: Architecture) -> None:
    fresh = models.BertPretrainerV2(
        **_parts(architecture, **dict(self._options)), name=self.name)
    self.architecture = architecture
    # In the constructor's order, which is the order of the variables: sums over
    # all gradients then come out alike in a grown and in a fresh model, to the
    # bit.
    self.encoder_network = fresh.encoder_network
    self.classification_heads = list(fresh.classification_heads)
    self.masked_lm = fresh.masked_lm
    self.inputs = dict(fresh.inputs)
    self._remake_functions()
    self._finish_network()

  def call(self, inputs, num_layers: int | None = None,
           trained_layers: int | None = None, predictions_only: bool = False):
    """Predicts the masked tokens and the order of the sentences.

    Args:
      inputs: what the encoder takes; `masked_lm_positions` are
        `[batch, predictions]` integers.
      num_layers: see `GrowingBertEncoder`.
      trained_layers: see `GrowingBertEncoder`.
      predictions_only: see `GrowingBertEncoder`; changes no output of a head.

    Returns:
      The encoder's outputs, `mlm_logits` `[batch, predictions, vocab]` if there
      are positions, and `next_sentence` `[batch, 2]`.
    """
    is_short = predictions_only or self.encoder_network.query_pool_size > 1
    if not is_short and num_layers is trained_layers is None:
      return super().call(inputs)
    outputs = self.encoder_network(
        inputs, num_layers=num_layers, trained_layers=trained_layers,
        predictions_only=predictions_only)
    sequence_output = outputs['sequence_output']
    positions = inputs.get('masked_lm_positions')
    if positions is not None:
      if is_short:
        # The masked rows are the last ones of the short sequence, in order.
        num_rows = tf.shape(sequence_output)[1]
        num_predictions = positions.shape[1] or tf.shape(positions)[1]
        rows = tf.range(num_rows - num_predictions, num_rows)
        positions = tf.zeros_like(positions, tf.int32) + rows
      outputs['mlm_logits'] = self.masked_lm(
          sequence_output, masked_positions=positions)
    for head in self.classification_heads:
      outputs[head.name] = head(sequence_output)
    return outputs

  def forward(self, features, training, *, num_layers=None,
              trained_layers=None):
    """See `GrowingTraining`."""
    return self(features, training=training, num_layers=num_layers,
                trained_layers=trained_layers, predictions_only=True)

  @property
  def norm_annealing(self) -> weighted_norm.NormAnnealing | None:
    """See `GrowingTraining`."""
    return self.encoder_network.norm_annealing

  def comparison_logits(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Masked-LM logits of the whole sequence, dropout off.

    Pooling has no weights, so this is the function by which the weights before
    and after a growth can be compared even where the growth ends the pooling.

    Args:
      features: Model Garden's pre-training features.

    Returns:
      `[batch, predictions, vocabulary]` floats.
    """
    # The stock call on the same layers: what the growing encoder itself does
    # once it is untreated.
    outputs = networks.BertEncoderV2.call(self.encoder_network, dict(features))
    return self.masked_lm(
        outputs['sequence_output'],
        masked_positions=features['masked_lm_positions'])

  def loss_sums(self, features, outputs):
    """See `GrowingTraining`: masked LM, and next sentence or None."""
    masked_lm = losses.masked_lm_sums(
        features['masked_lm_ids'], outputs['mlm_logits'],
        features['masked_lm_weights'])
    if NEXT_SENTENCE not in outputs:
      return masked_lm, None
    return masked_lm, losses.next_sentence_sums(
        features['next_sentence_labels'], outputs[NEXT_SENTENCE])

  def loss_weights(self, features):
    """See `GrowingTraining`."""
    weights = [losses.total_weight(features['masked_lm_weights'])]
    if self.classification_heads:
      weights.append(losses.num_examples(features['next_sentence_labels']))
    return weights

  def update_metrics(self, features, outputs, masked_lm, next_sentence):
    """See `GrowingTraining`."""
    self._loss.update_state(masked_lm, next_sentence)
    self._masked_lm_loss.update_state(
        tf.math.divide_no_nan(*masked_lm), masked_lm.weight)
    self._masked_lm_accuracy.update_state(
        _is_correct(features['masked_lm_ids'], outputs['mlm_logits']),
        features['masked_lm_weights'])
    if next_sentence is not None:
      self._next_sentence_loss.update_state(
          tf.math.divide_no_nan(*next_sentence), next_sentence.weight)
      self._next_sentence_accuracy.update_state(
          _is_correct(tf.reshape(features['next_sentence_labels'], [-1]),
                      outputs[NEXT_SENTENCE]))
    if 'overflow_tokens' in outputs:
      self._overflow_tokens.update_state(outputs['overflow_tokens'])

  def get_config(self):
    return {
        'architecture': dataclasses.asdict(self.architecture),
        **dict(self._options),
        'gradient_clip_norm': self.gradient_clip_norm,
        'gradient_accumulation_steps': self.gradient_accumulation_steps,
        'dropout_seed': self._dropout_seed,
        'name': self.name,
    }


def _parts(
    architecture: Architecture,
    *,
    output_dropout: float,
    attention_dropout: float,
    query_pool_type: str,
    use_next_sentence: bool,
    initializer_stddev: float) -> dict[str, Any]:
  """Fresh arguments for `BertPretrainerV2`."""
  def initializer():
    return tf_keras.initializers.TruncatedNormal(stddev=initializer_stddev)

  heads = []
  if use_next_sentence:
    heads.append(layers.ClassificationHead(
        inner_dim=architecture.hidden_size,
        num_classes=2,
        dropout_rate=output_dropout,
        initializer=initializer(),
        name=NEXT_SENTENCE))
  return dict(
      encoder_network=encoder_lib.GrowingBertEncoder.from_architecture(
          architecture,
          output_dropout=output_dropout,
          attention_dropout=attention_dropout,
          query_pool_type=query_pool_type,
          initializer_stddev=initializer_stddev),
      mlm_activation=activations.activation_named(architecture.activation),
      mlm_initializer=initializer(),
      classification_heads=heads)


def _is_correct(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """1 where the greatest logit is the label's. Same shape as the labels."""
  # As the product over the vocabulary yields them: on a TPU three axes would be
  # a copy of all logits.
  rows = tf.reshape(logits, [-1, logits.shape[-1]])
  guesses = tf.reshape(
      tf.argmax(rows, axis=-1, output_type=tf.int32), tf.shape(labels))
  return tf.cast(tf.equal(guesses, tf.cast(labels, tf.int32)), tf.float32)
