"""GLUE's metrics, as scikit-learn and SciPy compute them."""

from collections.abc import Mapping

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from official_ext.downstream.finetuned_model import REGRESSION
from official_ext.downstream.glue_tasks import GlueTask


def _matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
  return sklearn_metrics.matthews_corrcoef(labels, predictions)


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
  return sklearn_metrics.f1_score(labels, predictions, zero_division=0)


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
  return sklearn_metrics.accuracy_score(labels, predictions)


def _pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
  if _is_constant(labels, predictions):
    return 0.0
  return stats.pearsonr(labels, predictions)[0]


def _spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
  if _is_constant(labels, predictions):
    return 0.0
  return stats.spearmanr(labels, predictions)[0]


_METRICS = {'matthews': _matthews, 'f1': _f1, 'accuracy': _accuracy,
            'pearson': _pearson, 'spearman': _spearman}


def predictions_of(task: GlueTask, logits: np.ndarray) -> np.ndarray:
  """Class indices, or scores of a regression: `[examples]`.

  Args:
    task: which one.
    logits: float32 `[examples, classes]`, or `[examples, 1]` of a regression.
  """
  if task.kind == REGRESSION:
    return logits[:, 0].astype(np.float64)
  return np.argmax(logits, axis=1)


def split_metrics(task: GlueTask, split: str, labels: np.ndarray,
                  logits: np.ndarray) -> dict[str, float]:
  """The task's metrics of one development split, as shares of one.

  A correlation with a constant, which is not defined, counts as 0.

  Args:
    task: which one.
    split: 'dev', or one of MNLI's two.
    labels: class indices or scores `[examples]`.
    logits: see `predictions_of`.
  """
  predictions = predictions_of(task, logits)
  return {task.metric_name(metric, split):
          float(_METRICS[metric](labels, predictions))
          for metric in task.metrics}


def score(metrics: Mapping[str, float]) -> float:
  """What trials are compared by: the mean of the task's metrics, as in GLUE."""
  return float(np.mean(list(metrics.values())))


def _is_constant(*values: np.ndarray) -> bool:
  return any(np.all(each == each[0]) for each in values)
