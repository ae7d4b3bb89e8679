"""All trials of one task, the best of them, and its predictions."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import gc
import os
from typing import Any

import tensorflow as tf

from official_ext.data.progress import Progress
from official_ext.downstream import finetuned_model
from official_ext.downstream import sweep_directory
from official_ext.downstream.json_files import read_json
from official_ext.downstream.json_files import write_json
from official_ext.downstream.packed_examples import static_length
from official_ext.downstream.predictor import Predictor
from official_ext.downstream.pretrained import Pretrained
from official_ext.downstream.sweep_directory import SweepDirectory
from official_ext.downstream.task_data import TaskData
from official_ext.downstream.trial import DivergedError
from official_ext.downstream.trial import Trial
from official_ext.downstream.trial_settings import TrialSettings


class Sweep:
  """The trials of one task.

  Killed at any moment, the same call goes on: finished trials are not run
  again, the one that was interrupted goes on from its newest checkpoint.

  Args:
    data: of the task.
    pretrained: what every trial starts from.
    trials: in the order in which they are run.
    strategy: the devices.
    output_dir: where everything goes, see `SweepDirectory`.
    vocabulary_file: of the checkpoint.
    facts: see `SweepDirectory.start`.
    checkpoint_interval_steps: steps between two checkpoints of a trial.
    warn: called with one line.
  """

  def __init__(self, data: TaskData, pretrained: Pretrained,
               trials: Sequence[TrialSettings],
               strategy: tf.distribute.Strategy, *, output_dir: str,
               vocabulary_file: str, facts: Mapping[str, Any],
               checkpoint_interval_steps: int, warn: Callable[[str], None]):
    self._data, self._pretrained, self._trials = data, pretrained, trials
    self._strategy, self._vocabulary_file = strategy, vocabulary_file
    self._checkpoint_interval_steps = checkpoint_interval_steps
    self._warn = warn
    self._directory = SweepDirectory(output_dir)
    self._directory.start(facts)
    # Without the test files, which may come, or change, when trials are done.
    self._length = static_length(
        [data.training, *data.dev.values()], data.settings.seq_length)

  def run(self) -> dict[str, Any]:
    """Runs what is left to run, and writes `results.json` and predictions.

    Returns:
      What `results.json` holds: `task`, `trials` (name to result), `best` (a
      name), `metrics` and `score` of the best model, `predictions` (names of
      files), `test_files` (name to hash).

    Raises:
      ValueError: every trial diverged.
    """
    done = self._directory.results()
    steps = {trial.name: trial.num_steps(self._data.training.num_examples)
             for trial in self._trials}
    progress = Progress(
        f'fine-tuning on {self._data.settings.task}', sum(steps.values()),
        'steps')
    before = 0
    for trial in self._trials:
      if trial.name not in done:
        self._run_trial(
            trial, lambda step, before=before: progress.advance_to(before + step))
        # A trial's model and its compiled functions refer to each other.
        gc.collect()
      before += steps[trial.name]
      progress.advance_to(before)
    progress.close()
    return self._finish()

  def _run_trial(self, settings: TrialSettings,
                 advance: Callable[[int], None]) -> None:
    num_steps = settings.num_steps(self._data.training.num_examples)
    result = {**dataclasses.asdict(settings), 'num_steps': num_steps}
    trial = Trial(settings, self._pretrained, self._data.settings,
                  self._strategy, num_steps=num_steps, length=self._length)
    try:
      trial.train(
          self._data.training,
          directory=self._directory.checkpoints(settings.name),
          checkpoint_interval_steps=self._checkpoint_interval_steps,
          advance=advance, warn=self._warn)
    except DivergedError as error:
      self._warn(str(error))
      self._directory.finish_trial(
          settings.name, {**result, 'diverged': str(error)})
      return
    predict = Predictor(trial.model, self._strategy, length=self._length,
                        batch_size=settings.batch_size)
    evaluation = self._data.evaluate(
        {split: predict(examples)
         for split, examples in self._data.dev.items()})
    finetuned_model.save_finetuned(
        self._directory.new_model, trial.model, self._pretrained.architecture,
        dataclasses.replace(
            self._data.settings, metrics=evaluation.metrics,
            null_score_threshold=evaluation.null_score_threshold,
            trial=settings.name),
        vocabulary_file=self._vocabulary_file)
    self._directory.finish_trial(settings.name, {
        **result, 'metrics': dict(evaluation.metrics),
        'score': evaluation.score})

  def _finish(self) -> dict[str, Any]:
    """The best model's predictions, and the summary."""
    best, trials = self._directory.best(), self._directory.results()
    if best is None:
      raise ValueError(
          f'{self._directory.path}: every trial diverged; use lower learning '
          'rates in another --output_dir.')
    path = self._directory.file(sweep_directory.RESULTS_FILE)
    earlier = read_json(path)
    current = {'best': best, 'trials': trials,
               'test_files': dict(self._data.test_sha256)}
    if earlier and current.items() <= earlier.items():
      return earlier
    with self._strategy.scope():
      model = finetuned_model.load_finetuned(
          self._directory.file(sweep_directory.FINETUNED_DIR)).model
    outputs = {}
    for group in (self._data.dev, self._data.test):
      predict = Predictor(
          model, self._strategy, batch_size=trials[best]['batch_size'],
          length=static_length(
              [self._data.training, *self._data.dev.values(), *group.values()],
              self._data.settings.seq_length))
      outputs |= {name: predict(examples) for name, examples in group.items()}
    evaluation = self._data.evaluate(outputs)
    directory = self._directory.file(sweep_directory.PREDICTIONS_DIR)
    tf.io.gfile.makedirs(directory)
    if earlier:
      # Of a test file that is gone, by another model.
      for name in earlier['predictions']:
        if tf.io.gfile.exists(os.path.join(directory, name)):
          tf.io.gfile.remove(os.path.join(directory, name))
    summary = {
        **current, 'task': self._data.settings.task,
        'metrics': dict(evaluation.metrics), 'score': evaluation.score,
        'predictions': self._data.write_predictions(
            directory, outputs, evaluation)}
    write_json(path, summary)
    return summary
