"""A GLUE task as a trial sees it."""

from collections.abc import Mapping
import os

import numpy as np
import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer
from official_ext.downstream import glue_metrics
from official_ext.downstream.finetuned_model import FinetunedTask
from official_ext.downstream.finetuned_model import REGRESSION
from official_ext.downstream.glue_files import GlueExamples
from official_ext.downstream.glue_files import GlueFiles
from official_ext.downstream.glue_tasks import GlueTask
from official_ext.downstream.glue_tasks import MAX_SCORE
from official_ext.downstream.glue_tasks import MIN_SCORE
from official_ext.downstream.packed_examples import PackedExamples
from official_ext.downstream.task_data import Evaluation
from official_ext.downstream.text_features import pack_texts
from official_ext.training.durable_files import write_whole

# The name of Model Garden's sentence-prediction task.
LABELS = 'label_ids'
# Texts that are tokenised at a time.
_BATCH = 4096


class GlueData:
  """A `TaskData` of one of GLUE's tasks.

  Args:
    files: what was read, without mistakes.
    tokenizer: of the checkpoint's vocabulary.
    seq_length: most tokens of an example, special tokens included.
  """

  def __init__(self, files: GlueFiles, tokenizer: Tokenizer, *,
               seq_length: int):
    task = self._task = files.task
    self._indices = {name: examples.indices
                     for name, examples in files.test.items()}
    self.settings = FinetunedTask(
        task=task.name, kind=task.kind, label_names=task.label_names,
        num_texts=len(task.text_columns), seq_length=seq_length,
        lower_case=tokenizer.lower_case)
    self.training, *rest = (
        _pack(examples, tokenizer, seq_length)
        for examples in (files.train, *files.dev.values(),
                         *files.test.values()))
    self.dev = dict(zip(files.dev, rest))
    self.test = dict(zip(files.test, rest[len(files.dev):]))
    self.test_sha256 = files.test_sha256
    self.remarks = _remarks(files)

  def evaluate(self, outputs: Mapping[str, np.ndarray]) -> Evaluation:
    """See `TaskData`; the score is the mean of the task's metrics."""
    metrics = {}
    for split, examples in self.dev.items():
      metrics |= glue_metrics.split_metrics(
          self._task, split, examples.labels[LABELS], outputs[split])
    return Evaluation(metrics, glue_metrics.score(metrics))

  def write_predictions(self, directory: str, outputs: Mapping[str, np.ndarray],
                        evaluation: Evaluation) -> list[str]:
    """See `TaskData`: the files of a submission to GLUE."""
    del evaluation
    for name in self.test:
      lines = ['index\tprediction']
      lines += [f'{index}\t{prediction}' for index, prediction in zip(
          self._indices[name], submitted(self._task, outputs[name]))]
      write_whole(os.path.join(directory, name), '\n'.join(lines) + '\n')
    return list(self.test)


def submitted(task: GlueTask, logits: np.ndarray) -> list[str]:
  """Predictions as a submission writes them: label names, or scores.

  Args:
    task: which one.
    logits: see `glue_metrics.predictions_of`.
  """
  predictions = glue_metrics.predictions_of(task, logits)
  if task.kind == REGRESSION:
    return [f'{value:.3f}'
            for value in np.clip(predictions, MIN_SCORE, MAX_SCORE)]
  return [task.label_names[value] for value in predictions]


def _pack(examples: GlueExamples, tokenizer: Tokenizer, seq_length: int
          ) -> PackedExamples:
  words, types, sizes = [], [], [np.zeros([1], np.int64)]
  for start in range(0, len(examples.texts), _BATCH):
    part = slice(start, start + _BATCH)
    second = None
    if examples.second_texts is not None:
      second = tf.constant(examples.second_texts[part])
    word_ids, type_ids = pack_texts(
        tokenizer, tf.constant(examples.texts[part]), second, seq_length)
    words.append(word_ids.flat_values.numpy())
    types.append(type_ids.flat_values.numpy())
    sizes.append(word_ids.row_lengths().numpy())
  labels = {} if examples.labels is None else {LABELS: examples.labels}
  return PackedExamples(
      np.concatenate(words), np.concatenate(types),
      np.cumsum(np.concatenate(sizes)), labels)


def _remarks(files: GlueFiles) -> list[str]:
  skipped = files.train.skipped_lines + sum(
      examples.skipped_lines
      for group in (files.dev, files.test) for examples in group.values())
  lines = []
  if skipped:
    lines.append(
        f'{files.task.title}: {skipped} broken lines are left out, as usual')
  if not files.test:
    lines.append(
        f'{files.task.title}: there is no test file, so no predictions are '
        'written')
  return lines
