"""Training steps that the benchmarks time, on one batch of random features."""

import os
import platform

import numpy as np
from official.modeling import tf_utils
from official.modeling.optimization import legacy_adamw
from official.nlp.modeling import layers, models, networks
import tensorflow as tf, tf_keras

from official_ext import modeling
from official_ext.growth.architecture import Architecture


def batch_of(batch_size: int, seq_length: int, predictions: int,
             vocab_size: int) -> dict[str, tf.Tensor]:
  """Random features in the shapes of Model Garden's pre-training data."""
  random = np.random.default_rng(0)
  shape = (batch_size, seq_length)
  positions = np.stack([
      np.sort(random.choice(
          np.arange(1, seq_length), predictions, replace=False))
      for _ in range(batch_size)])
  type_ids = np.arange(seq_length) >= seq_length // 2
  return dict(
      input_word_ids=tf.constant(
          random.integers(0, vocab_size, shape), tf.int32),
      input_mask=tf.ones(shape, tf.int32),
      input_type_ids=tf.broadcast_to(tf.cast(type_ids, tf.int32), shape),
      masked_lm_positions=tf.constant(positions, tf.int32),
      masked_lm_ids=tf.constant(
          random.integers(0, vocab_size, positions.shape), tf.int32),
      masked_lm_weights=tf.ones(positions.shape),
      next_sentence_labels=tf.constant(
          random.integers(0, 2, (batch_size, 1)), tf.int32))


def optimizer():
  return legacy_adamw.AdamWeightDecay(
      1e-4, weight_decay_rate=0.01, epsilon=1e-6, gradient_clip_norm=1.0,
      exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'])


def our_step(architecture: Architecture, batch, jit_compile: bool):
  """A call that runs one step of `GrowingBertPretrainer` and gives its loss."""
  model = modeling.GrowingBertPretrainer(architecture)
  model.compile(optimizer=optimizer())
  step = tf.function(model.train_step, jit_compile=jit_compile)
  return lambda: step(batch)['loss']


def stock_step(architecture: Architecture, jit_compile: bool):
  """What one would write with Model Garden alone, after its MaskedLMTask.

  Returns:
    The `tf.function`; it takes what the model is called with, and the batch.
  """
  initializer = tf_keras.initializers.TruncatedNormal(stddev=0.02)
  encoder = networks.BertEncoderV2(
      vocab_size=architecture.vocab_size,
      hidden_size=architecture.hidden_size,
      num_layers=architecture.num_layers,
      num_attention_heads=architecture.num_heads,
      max_sequence_length=architecture.max_positions,
      type_vocab_size=architecture.type_vocab_size,
      inner_dim=architecture.inner_size)
  model = models.BertPretrainerV2(
      encoder_network=encoder,
      mlm_activation=tf_utils.get_activation('gelu'),
      mlm_initializer=initializer,
      classification_heads=[layers.ClassificationHead(
          inner_dim=architecture.hidden_size, num_classes=2, dropout_rate=0.1,
          name='next_sentence')])
  adamw = optimizer()
  masked_lm_accuracy = tf_keras.metrics.SparseCategoricalAccuracy()
  masked_lm_loss = tf_keras.metrics.Mean()
  next_sentence_accuracy = tf_keras.metrics.SparseCategoricalAccuracy()
  next_sentence_loss = tf_keras.metrics.Mean()
  cross_entropy = tf_keras.losses.sparse_categorical_crossentropy

  @tf.function(jit_compile=jit_compile)
  def step(inputs, batch):
    with tf.GradientTape() as tape:
      outputs = model(inputs, training=True)
      weights = batch['masked_lm_weights']
      token_losses = cross_entropy(
          batch['masked_lm_ids'], tf.cast(outputs['mlm_logits'], tf.float32),
          from_logits=True)
      lm_loss = tf.math.divide_no_nan(
          tf.reduce_sum(token_losses * weights), tf.reduce_sum(weights))
      sentence_loss = tf.reduce_mean(cross_entropy(
          batch['next_sentence_labels'],
          tf.cast(outputs['next_sentence'], tf.float32), from_logits=True))
      loss = lm_loss + sentence_loss
    variables = model.trainable_variables
    pairs = [(gradient, variable) for gradient, variable
             in zip(tape.gradient(loss, variables), variables)
             if gradient is not None]
    adamw.apply_gradients(pairs)
    masked_lm_loss.update_state(lm_loss)
    next_sentence_loss.update_state(sentence_loss)
    masked_lm_accuracy.update_state(
        batch['masked_lm_ids'], outputs['mlm_logits'], weights)
    next_sentence_accuracy.update_state(
        batch['next_sentence_labels'], outputs['next_sentence'])
    return loss

  return step


def stock_inputs(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
  """What a stock model is called with."""
  return {name: batch[name] for name in (
      'input_word_ids', 'input_mask', 'input_type_ids', 'masked_lm_positions')}


def machine() -> str:
  """The number of cores and their name."""
  model = platform.processor() or platform.machine()
  try:
    with open('/proc/cpuinfo', encoding='utf-8') as lines:
      model = next(line.split(':')[1].strip() for line in lines
                   if line.startswith('model name'))
  except (OSError, StopIteration):
    pass
  return f'{os.cpu_count()} x {model}'
