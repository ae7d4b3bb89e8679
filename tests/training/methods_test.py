"""Every growth rule, in a real `fit`: over two replicas, and across a resumption.

The rules come from the tables, so a new row is tested here at once. Their maths
is tested in tests/growth; whole runs, compiled, in tests/experiments_test.py.
"""

import itertools
import os

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from official_ext.growth import Architecture
from official_ext.growth import DEPTH_RULES
from official_ext.growth import WIDTH_RULES
from official_ext.modeling import build_pretrainer
from official_ext.modeling import weights as weights_lib
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from official_ext.training import ProgressiveGrowth
from official_ext.training import StageOptimizer
from official_ext.training.checkpoints import read_position
from official_ext.training.checkpoints import RunCheckpoints
from tests.training import tiny_run

# Of two layers, which grow from one.
BERT = tiny_run.ARCHITECTURE.replace(num_layers=2)
GPT = Architecture(
    family='gpt', num_layers=2, hidden_size=16, num_heads=2, inner_size=32,
    vocab_size=tiny_run.VOCABULARY, max_positions=tiny_run.SEQUENCE_LENGTH)


def small_then_full(width, depth):
  return GrowthSchedule((
      Stage('small', steps=2, width=0.5, depth=0.5),
      Stage('full', steps=2, width_growth=width, depth_growth=depth)))


# Each rule of either table once; the shorter table is gone through again.
SCHEDULES = {
    f'{width}+{depth}': small_then_full(width, depth)
    for width, depth in itertools.islice(
        zip(itertools.cycle(WIDTH_RULES), itertools.cycle(DEPTH_RULES)),
        max(len(WIDTH_RULES), len(DEPTH_RULES)))
} | {
    'factorized': GrowthSchedule((
        Stage('small', steps=2, ffn_rank=3, depth=0.5),
        Stage('full', steps=2))),
    'weighted_norm': GrowthSchedule((
        Stage('small', steps=2, hidden_size=16, num_heads=2),
        Stage('wide', steps=2, weighted_norm=True), Stage('full', steps=1))),
    'mslt': GrowthSchedule((
        Stage('small', steps=2, depth=0.5),
        Stage('top', steps=2, depth_growth='top', trained_layers=1),
        Stage('full', steps=1))),
    'sub_models': GrowthSchedule((
        Stage('sub_models', steps=3, sub_model_layers=1),
        Stage('full', steps=1))),
}
# A width that is no multiple of the small one.
ODD = BERT.replace(hidden_size=24, num_heads=3)
CASES = {
    f'bert-{name}': (ODD if name == 'weighted_norm' else BERT, schedule)
    for name, schedule in SCHEDULES.items()}
CASES |= {
    f'gpt-{name}': (GPT, schedule) for name, schedule in SCHEDULES.items()
    if name in ('aki+top', 'mslt', 'sub_models')}


class SaveOnce(tf_keras.callbacks.Callback):
  """Keeps the state before the last step of the first stage."""

  def __init__(self, checkpoints, growth):
    super().__init__()
    self.growth = growth
    self.step = growth.stages[0].end_step - 1
    self.checkpoints = checkpoints

  def on_train_batch_end(self, batch, logs=None):
    if self.growth.step == self.step:
      self.checkpoints.save(self.model, step=self.step, stage_index=0)


@pytest.fixture(scope='module')
def loaders(tmp_path_factory):
  path = tmp_path_factory.mktemp('data')
  directories = {'bert': tiny_run.write_data(path / 'bert'),
                 'gpt': tiny_run.write_causal_data(path / 'gpt')}
  return {
      family: PretrainLoader(directory, Manifest.read(directory))
      for family, directory in directories.items()}


def fit(loader, target, schedule, path, *, strategy=None, resume=False):
  """The weights at the end of a run that began anew, or from the state at `path`."""
  strategy = strategy or tf.distribute.get_strategy()
  num_steps = sum(stage.steps for stage in schedule.stages)
  growth = ProgressiveGrowth(
      schedule, target, num_steps, stage_optimizer=StageOptimizer(
          num_steps=num_steps, peak_learning_rate=1e-2),
      optimizer_growth='transfer')
  stage = growth.stages[0]
  checkpoints = RunCheckpoints(str(path))
  # Another seed: everything has to come from the checkpoint.
  tf_keras.utils.set_random_seed(2 if resume else 1)
  with strategy.scope():
    # Replicas would draw dropout masks of their own.
    model = build_pretrainer(
        stage.architecture, output_dropout=0.0, attention_dropout=0.0)
    growth.prepare_model(stage, model)
    # Tracing stages of a few steps would take most of the time.
    model.compile(
        optimizer=growth.build_optimizer(stage, model), run_eagerly=True)
    if resume:
      newest = checkpoints.newest_valid(warn=pytest.fail)
      checkpoints.restore(newest, model)
      growth.resume_at(read_position(newest)[0])
  batches = strategy.distribute_datasets_from_function(
      lambda context: loader.training_batches(
          BatchSlice(8, num_replicas=context.num_replicas_in_sync), seed=0,
          start_step=growth.step))
  callbacks = [growth]
  if not os.path.exists(path):
    callbacks.append(SaveOnce(checkpoints, growth))
  model.fit(batches, steps_per_epoch=num_steps - growth.step, verbose=0,
            callbacks=callbacks)
  assert model.architecture == target
  assert [record['stage_to'] for record in growth.records] == list(
      range(1, len(schedule.stages)))
  assert all(record['operators'] for record in growth.records)
  return weights_lib.read_weights(model)


@pytest.fixture(scope='module')
def run_of(tmp_path_factory, loaders):
  """What `fit` needs for a case, and the weights after it; run once a case."""
  runs = {}

  def run(case):
    if case not in runs:
      target, schedule = CASES[case]
      arguments = (loaders[target.family], target, schedule,
                   tmp_path_factory.mktemp('run') / 'state')
      runs[case] = arguments, fit(*arguments)
    return runs[case]

  return run


@pytest.mark.parametrize('case', CASES)
def test_a_method_resumes_bit_identical(run_of, case):
  arguments, weights = run_of(case)
  resumed = fit(*arguments, resume=True)
  for name, array in weights.items():
    np.testing.assert_array_equal(resumed[name], array, err_msg=name)


# A rule computes arrays on the host, whatever they are written to afterwards. So
# a rule of each table, on both families, shows what replicas make of the others;
# LayerNorms that are weighted and trained parts are more than other arrays.
# Sub-models are drawn over replicas in modeling/trained_part_test.py too.
_SOON = {'bert-aki+top', 'bert-weighted_norm', 'bert-mslt', 'gpt-aki+top'}


@pytest.mark.parametrize('case', [
    pytest.param(case, marks=[pytest.mark.slow] * (case not in _SOON))
    for case in CASES])
def test_a_method_agrees_over_replicas(run_of, mirrored, case):
  arguments, weights = run_of(case)
  replicas = fit(*arguments, strategy=mirrored)
  for name, array in weights.items():
    # Adam divides by the root of tiny second moments: differences grow.
    np.testing.assert_allclose(
        replicas[name], array, rtol=0, atol=1e-3, err_msg=name)


def test_every_rule_is_tested_here():
  for rules, field in ((WIDTH_RULES, 'width_growth'),
                       (DEPTH_RULES, 'depth_growth')):
    assert set(rules) <= {
        getattr(stage, field) for _, schedule in CASES.values()
        for stage in schedule.stages}
