"""The outputs of a fine-tuning model for many examples."""

import numpy as np
import tensorflow as tf, tf_keras

from official_ext.downstream import packed_examples
from official_ext.downstream.packed_examples import PackedExamples
from official_ext.downstream.packed_examples import ROW
from official_ext.downstream.task_data import Outputs

INPUTS = ('input_word_ids', 'input_mask', 'input_type_ids')


class Predictor:
  """Runs a model over examples, on all replicas, compiled once.

  Args:
    model: of `build_task_model`, made under the strategy's scope.
    strategy: the devices.
    length: tokens a row.
    batch_size: examples a step, over all replicas.
  """

  def __init__(self, model: tf_keras.Model, strategy: tf.distribute.Strategy, *,
               length: int, batch_size: int):
    self._model, self._strategy = model, strategy
    self._length, self._batch_size = length, batch_size
    self._run = tf.function(self._outputs)

  def __call__(self, examples: PackedExamples) -> Outputs:
    """The model's outputs for all examples, in their order.

    Returns:
      float32: logits `[examples, outputs]`, or start and end logits
      `[examples, length]` each.
    """
    batches = packed_examples.distributed(
        self._strategy, self._batch_size,
        lambda rows: packed_examples.evaluation_batches(
            examples, rows, length=self._length))
    gathered = None
    for batch in batches:
      parts = self._local(self._run(batch))
      if gathered is None:
        gathered = [np.zeros([examples.num_examples, *part.shape[1:]],
                             part.dtype) for part in parts]
      for whole, part in zip(gathered, parts):
        # What fills up the last batch is written twice, and the same.
        whole[parts[0]] = part
    _, *outputs = gathered
    return outputs[0] if len(outputs) == 1 else tuple(outputs)

  def _outputs(self, batch):
    def run(features):
      outputs = self._model(
          {name: features[name] for name in INPUTS}, training=False)
      outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
      return [features[ROW], *(tf.cast(each, tf.float32) for each in outputs)]
    return self._strategy.run(run, args=(batch,))

  def _local(self, values) -> list[np.ndarray]:
    """Rows and outputs of one step, those of all replicas together."""
    return [np.concatenate([
        each.numpy() for each in self._strategy.experimental_local_results(
            value)]) for value in values]
