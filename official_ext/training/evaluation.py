"""Held-out figures, and the figure that a model must beat."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from official_ext.data.manifest import Unigram


class HeldOutEvaluation:
  """Evaluates a model on the same held-out batches every time.

  Args:
    model: a compiled model.
    batches: held-out batches, distributed if the strategy wants it so.
    num_steps: how many batches of a training step's size.
    batches_per_step: how many of `batches` make up one of these.
    unigram: what token frequencies alone predict; None if it is not known.

  Attributes:
    num_steps: the same.
    unigram: the same.
  """

  def __init__(self, model: tf_keras.Model, batches, num_steps: int,
               batches_per_step: int = 1, unigram: Unigram | None = None):
    self.unigram = unigram
    self._model = model
    self._batches_per_step = batches_per_step
    self._batches = batches
    self.num_steps = num_steps

  def __call__(self) -> dict[str, float]:
    """Runs it; training metrics that have not been read are lost."""
    results = self._model.evaluate(
        self._batches, steps=self.num_steps * self._batches_per_step, verbose=0,
        return_dict=True)
    self._model.reset_metrics()
    return {name: float(value) for name, value in results.items()}


def most_frequent_token_accuracy(
    batches: Iterable[Mapping[str, tf.Tensor]]) -> float:
  """Accuracy of always guessing the most frequent label of these batches.

  The labels are the masked tokens or, in causal batches, which have none, every
  token but the first of each sequence.
  """
  counts = Counter()
  for batch in batches:
    if 'masked_lm_ids' in batch:
      ids, weights = batch['masked_lm_ids'], batch['masked_lm_weights']
    else:
      ids, weights = (
          batch[name][:, 1:] for name in ('input_word_ids', 'input_mask'))
    counts.update(np.asarray(ids)[np.asarray(weights) > 0].tolist())
  return max(counts.values()) / sum(counts.values()) if counts else 0.0
