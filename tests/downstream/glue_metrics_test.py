"""Metrics against formulas written out here, and against the libraries."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from official_ext.downstream import glue_metrics
from official_ext.downstream.glue_tasks import GLUE_TASKS

TOLERANCE = 1e-9


def counts(labels, predictions):
  pairs = list(zip(labels, predictions))
  return (pairs.count((1, 1)), pairs.count((0, 0)), pairs.count((0, 1)),
          pairs.count((1, 0)))


def matthews(labels, predictions):
  tp, tn, fp, fn = counts(labels, predictions)
  scale = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
  return (tp * tn - fp * fn) / scale if scale else 0.0


def f1(labels, predictions):
  tp, _, fp, fn = counts(labels, predictions)
  return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def accuracy(labels, predictions):
  return sum(a == b for a, b in zip(labels, predictions)) / len(labels)


def pearson(a, b):
  mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
  product = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
  return product / math.sqrt(sum((x - mean_a) ** 2 for x in a)
                             * sum((y - mean_b) ** 2 for y in b))


def ranks(values):
  """Mean ranks: how many are less, and half of how many are equal."""
  return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2
          for x in values]


def spearman(a, b):
  return pearson(ranks(a), ranks(b))


FORMULAS = {'matthews': matthews, 'f1': f1, 'accuracy': accuracy,
            'pearson': pearson, 'spearman': spearman}
LIBRARY = {
    'matthews': sklearn_metrics.matthews_corrcoef,
    'f1': sklearn_metrics.f1_score, 'accuracy': sklearn_metrics.accuracy_score,
    'pearson': lambda a, b: stats.pearsonr(a, b)[0],
    'spearman': lambda a, b: stats.spearmanr(a, b)[0]}


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('name', GLUE_TASKS)
def test_metrics_are_what_they_say(name, seed):
  task = GLUE_TASKS[name]
  rng = np.random.default_rng(seed)
  classes = len(task.label_names) or 1
  logits = rng.normal(size=(50, classes)).astype(np.float32)
  if name == 'stsb':
    # With ties, which ranks have to share.
    labels = rng.integers(0, 11, 50).astype(np.float32) / 2
    logits = np.round(logits, 1)
    predictions = [float(value) for value in logits[:, 0]]
  else:
    labels = rng.integers(0, classes, 50).astype(np.int32)
    predictions = [max(range(classes), key=list(row).__getitem__)
                   for row in logits]
  for split in task.dev_files:
    found = glue_metrics.split_metrics(task, split, labels, logits)
    suffix = split.removeprefix('dev')
    assert set(found) == {metric + suffix for metric in task.metrics}
    for metric in task.metrics:
      value = found[metric + suffix]
      assert abs(value - FORMULAS[metric](
          labels.tolist(), predictions)) < TOLERANCE
      assert abs(value - LIBRARY[metric](
          labels.astype(float), np.array(predictions))) < TOLERANCE


def test_the_score_is_the_mean_of_a_tasks_metrics():
  assert glue_metrics.score({'f1': 0.9, 'accuracy': 0.8}) == pytest.approx(0.85)


@pytest.mark.parametrize('name', ['cola', 'mrpc', 'stsb'])
def test_a_model_that_always_says_the_same_scores_0(name):
  task = GLUE_TASKS[name]
  logits = np.tile(np.float32([[1, 0]]), (4, 1))
  labels = np.array([0, 1, 1, 0])
  found = glue_metrics.split_metrics(task, 'dev', labels, logits)
  assert [found[metric] for metric in task.metrics if metric != 'accuracy'] == (
      [0.0] * (2 if name == 'stsb' else 1))
