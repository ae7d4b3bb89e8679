"""A trial: its loss, its steps on replicas, its resume, its end."""

import os

import numpy as np
import pytest
import tensorflow as tf

from official_ext.downstream import trial as trial_lib
from official_ext.downstream.finetuned_model import FinetunedTask
from official_ext.downstream.packed_examples import PackedExamples
from official_ext.downstream.predictor import Predictor
from official_ext.downstream.pretrained import read_pretrained
from official_ext.downstream.trial import DivergedError
from official_ext.downstream.trial import Trial
from official_ext.downstream.trial_settings import TrialSettings

LENGTH, NUM_STEPS = 8, 6
CLASSES = FinetunedTask(
    task='cola', kind='classification', label_names=('0', '1'), num_texts=1,
    seq_length=LENGTH, lower_case=True)
SCORES = FinetunedTask(
    task='stsb', kind='regression', num_texts=2, seq_length=LENGTH,
    lower_case=True)
SPANS = FinetunedTask(
    task='squad11', kind='question_answering', num_texts=2, seq_length=LENGTH,
    lower_case=True)


def examples(task, count=10):
  rng = np.random.default_rng(0)
  sizes = rng.integers(3, LENGTH + 1, count)
  words = rng.integers(5, 25, sizes.sum()).astype(np.int32)
  if task is SPANS:
    labels = {name: rng.integers(0, 3, count).astype(np.int32)
              for name in ('start_positions', 'end_positions')}
  elif task is SCORES:
    labels = {'label_ids': rng.uniform(0, 5, count).astype(np.float32)}
  else:
    labels = {'label_ids': rng.integers(0, 2, count).astype(np.int32)}
  return PackedExamples(words, words % 2, np.cumsum([0, *sizes]), labels)


def settings(**changes):
  return TrialSettings(**{'batch_size': 4, 'learning_rate': 1e-2, 'seed': 1,
                          **changes})


def build(checkpoint, task, strategy=None, **changes):
  return Trial(settings(**changes), read_pretrained(checkpoint), task,
               strategy or tf.distribute.get_strategy(), num_steps=NUM_STEPS,
               length=LENGTH)


def train(trial, task, folder, **options):
  return trial.train(examples(task), directory=str(folder),
                     checkpoint_interval_steps=4, **options)


def expected_loss(task, outputs, labels):
  """The mean over the examples, written out in NumPy."""
  def cross_entropy(logits, classes):
    logits = logits.astype(np.float64)
    norms = np.log(np.exp(logits).sum(axis=1))
    return norms - logits[np.arange(len(logits)), classes]
  if task is SPANS:
    return np.mean([cross_entropy(outputs[0], labels['start_positions']),
                    cross_entropy(outputs[1], labels['end_positions'])])
  if task is SCORES:
    return np.mean((outputs[:, 0] - labels['label_ids']) ** 2)
  return np.mean(cross_entropy(outputs, labels['label_ids']))


@pytest.mark.parametrize('task', [CLASSES, SCORES, SPANS],
                         ids=lambda task: task.kind)
def test_the_loss_is_the_mean_over_the_batch(
    task, checkpoint, tmp_path, monkeypatch):
  monkeypatch.setattr(trial_lib, '_STEPS_A_CALL', 1)
  # Without dropout and before the learning rate has risen from zero.
  trial = build(checkpoint, task, output_dropout=0., attention_dropout=0.,
                batch_size=10, warmup_fraction=0.9)
  data = examples(task)
  outputs = Predictor(trial.model, tf.distribute.get_strategy(), length=LENGTH,
                      batch_size=4)(data)

  def stop(step):
    if step == 1:
      raise KeyboardInterrupt
  losses = []
  run = trial._run

  def noted(*arguments):
    losses.append(float(run(*arguments)))
    return losses[-1]
  trial._run = noted
  with pytest.raises(KeyboardInterrupt):
    train(trial, task, tmp_path, advance=stop)
  assert losses == [pytest.approx(
      expected_loss(task, outputs, data.labels), rel=1e-5)]


class Killed(Exception):
  """What ends a process, for a test."""


def weights(trial):
  return [variable.numpy() for variable in trial.model.variables]


def test_a_killed_trial_ends_as_if_nothing_had_happened(
    checkpoint, tmp_path, monkeypatch):
  monkeypatch.setattr(trial_lib, '_STEPS_A_CALL', 1)
  whole = build(checkpoint, CLASSES)
  loss = train(whole, CLASSES, tmp_path / 'whole')

  def kill(step):
    if step == 5:
      raise Killed
  with pytest.raises(Killed):
    train(build(checkpoint, CLASSES), CLASSES, tmp_path / 'killed', advance=kill)
  steps = []
  resumed = build(checkpoint, CLASSES)
  assert train(resumed, CLASSES, tmp_path / 'killed',
               advance=steps.append) == loss
  # Dropout is on: its masks go on, too.
  assert steps == [4, 5, 6]
  for there, here in zip(weights(whole), weights(resumed)):
    np.testing.assert_array_equal(there, here)

  # Damage costs the newest checkpoint, and is said.
  newest = tf.train.latest_checkpoint(str(tmp_path / 'killed'))
  data_file = newest + '.data-00000-of-00001'
  with open(data_file, 'r+b') as file:
    file.truncate(os.path.getsize(data_file) // 2)
  steps.clear()
  warnings = []
  assert train(build(checkpoint, CLASSES), CLASSES, tmp_path / 'killed',
               advance=steps.append, warn=warnings.append) == loss
  assert steps == [4, 5, 6]
  assert len(warnings) == 1
  assert warnings[0].startswith(f'checkpoint {newest} is damaged (')


@pytest.mark.slow
@pytest.mark.parametrize('task', [CLASSES, SCORES, SPANS],
                         ids=lambda task: task.kind)
def test_two_replicas_do_what_one_device_does(
    task, checkpoint, mirrored, tmp_path):
  found = []
  for name, strategy in (('one', None), ('two', mirrored)):
    trial = build(checkpoint, task, strategy, output_dropout=0.,
                  attention_dropout=0., gradient_clip_norm=0.5)
    loss = train(trial, task, tmp_path / name)
    outputs = Predictor(
        trial.model, strategy or tf.distribute.get_strategy(), length=LENGTH,
        batch_size=4)(examples(task))
    found.append((loss, outputs))
  (loss, outputs), (two_losses, two_outputs) = found
  assert two_losses == pytest.approx(loss, rel=1e-5)
  np.testing.assert_allclose(two_outputs, outputs, atol=2e-5)


def test_a_trial_that_diverges_says_so(checkpoint, tmp_path):
  trial = build(checkpoint, CLASSES, learning_rate=1e30, gradient_clip_norm=0.,
                warmup_fraction=0.)
  with pytest.raises(DivergedError) as error:
    train(trial, CLASSES, tmp_path)
  assert str(error.value) in tuple(
      f'batch4_rate1e+30_seed1: the loss is {value} at step {step}; use a lower '
      'learning rate' for value in ('nan', 'inf') for step in (2, 4, 6))


def test_steps_and_names():
  assert settings(batch_size=32, num_epochs=3.0).num_steps(100) == 9
  assert settings(batch_size=32, num_epochs=0.1).num_steps(100) == 1
  assert settings(batch_size=32, learning_rate=3e-5, seed=2).name == (
      'batch32_rate3e-05_seed2')
