"""Growth in the middle of one `fit`."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from official_ext.modeling import GrowingBertPretrainer
from official_ext.modeling import weights as weights_lib
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from official_ext.training import ProgressiveGrowth
from official_ext.training.stage_optimizer import StageOptimizer
from tests.training import tiny_run

TARGET = tiny_run.ARCHITECTURE.replace(num_layers=2)
SCHEDULE = GrowthSchedule((
    Stage('small', steps=3, depth=0.5, ffn_sharing=2, query_pool_size=2),
    Stage('full', steps=4)))
SHARING = GrowthSchedule((
    Stage('shared', steps=3, ffn_sharing=4, query_pool_size=2),
    Stage('full', steps=200)))


@pytest.fixture(scope='module')
def loader(tmp_path_factory):
  data_dir = tiny_run.write_data(tmp_path_factory.mktemp('data'))
  return PretrainLoader(data_dir, Manifest.read(data_dir))


class Traces(tf_keras.callbacks.Callback):
  """Notes the compiled functions that ran."""

  def __init__(self):
    super().__init__()
    self.functions = []

  def on_train_batch_end(self, batch, logs=None):
    function = self.model.train_tf_function
    if function is None:
      return  # A growth has just made the next one.
    if not self.functions or self.functions[-1] is not function:
      self.functions.append(function)


def fit(loader, schedule, *, strategy=None, steps_per_execution=1,
        callbacks=(), **options):
  strategy = strategy or tf.distribute.get_strategy()
  num_steps = sum(stage.steps for stage in schedule.stages)
  growth = ProgressiveGrowth(
      schedule, TARGET, num_steps, stage_optimizer=StageOptimizer(
          num_steps=num_steps, peak_learning_rate=1e-2), **options)
  tf_keras.utils.set_random_seed(1)
  with strategy.scope():
    model = GrowingBertPretrainer(
        growth.stages[0].architecture, output_dropout=0.0,
        attention_dropout=0.0)
    model.compile(optimizer=growth.build_optimizer(growth.stages[0], model),
                  steps_per_execution=steps_per_execution)
  batches = strategy.distribute_datasets_from_function(
      lambda context: loader.training_batches(
          BatchSlice(8, num_replicas=context.num_replicas_in_sync), seed=0))
  model.fit(batches, steps_per_epoch=num_steps, verbose=0,
            callbacks=[growth, *callbacks])
  return model, growth


@pytest.fixture(scope='module')
def plain(loader):
  """Weights after one device's run, a step an execution."""
  return weights_lib.read_weights(fit(loader, SCHEDULE)[0])


# Cut by the growth at step 3, ending with it, and all steps at once.
@pytest.mark.parametrize('steps_per_execution', [
    2, pytest.param(3, marks=pytest.mark.slow),
    pytest.param(7, marks=pytest.mark.slow)])
def test_grows_at_the_step_whatever_steps_per_execution_is(
    loader, plain, steps_per_execution, tmp_path):
  # TensorBoard's callback wants to draw the function that has just run.
  actual, growth = fit(
      loader, SCHEDULE, steps_per_execution=steps_per_execution,
      callbacks=[tf_keras.callbacks.TensorBoard(str(tmp_path))])
  assert [record['step'] for record in growth.records] == [3]
  assert growth.step == 7
  # The last stage's optimizer has seen that stage's steps alone.
  assert int(actual.optimizer.iterations) == 4
  for name, value in plain.items():
    np.testing.assert_allclose(
        weights_lib.read_weights(actual)[name], value, atol=1e-6, err_msg=name)


def test_traces_once_a_stage_and_releases_the_old_variables(loader):
  old, handles = [], []

  class KeepWeakly(tf_keras.callbacks.Callback):

    def on_train_batch_end(self, batch, logs=None):
      if batch == 0:
        old.extend(weakref.ref(variable)
                   for variable in self.model.encoder_network.weights)
        # Their handles hold what a graph that is not released keeps in memory.
        handles.extend(weakref.ref(variable.handle)
                       for variable in self.model.optimizer.variables())

  traces = Traces()
  model, growth = fit(loader, SCHEDULE, callbacks=[traces, KeepWeakly()])
  assert len(traces.functions) == 2
  assert [f.experimental_get_tracing_count() for f in traces.functions] == [1, 1]
  assert growth.stage.name == 'full'
  traces.functions.clear()
  gc.collect()
  assert old
  alive = [reference().name for reference in old if reference() is not None]
  # Keras builds models on a graph of the process, whose slice of the position
  # embedding keeps that one variable until `clear_session`.
  assert not [name for name in alive if 'position_embedding' not in name]
  assert handles
  assert not [each() for each in handles if each() is not None]
  fresh = GrowingBertPretrainer(TARGET)
  assert [v.shape for v in model.trainable_variables] == [
      v.shape for v in fresh.trainable_variables]
  assert len(model.weights) == len(fresh.weights)


def test_two_replicas_agree_with_one_device_through_a_growth(
    loader, mirrored, plain):
  two, growth = fit(loader, SCHEDULE, strategy=mirrored)
  assert [record['step'] for record in growth.records] == [3]
  for name, value in plain.items():
    np.testing.assert_allclose(
        weights_lib.read_weights(two)[name], value, atol=2e-5, err_msg=name)


def probe(loader):
  return next(iter(loader.evaluation_batches(BatchSlice(4), 1)))


def test_sharing_to_full_preserves_the_function_and_copies_separate(loader):
  model, growth = fit(loader, SHARING, probe=probe(loader))
  record, = growth.records
  assert record['preserves']
  assert record['operators'] == ['ffn_sharing 4 -> 1', 'query_pool 2 -> 1']
  assert record['max_logit_difference'] <= 1e-5
  for layer in range(2):
    assert closest_units(model, layer) > 1e-3


def closest_units(model, layer) -> float:
  """Distance of the two most alike inner units, relative to a unit's norm."""
  kernel = weights_lib.read_weights(model)[f'layer_{layer}/ffn/inner/kernel']
  units = kernel.T
  distances = np.linalg.norm(units[:, np.newaxis] - units, axis=-1)
  np.fill_diagonal(distances, np.inf)
  return distances.min() / np.linalg.norm(units, axis=-1).mean()


def test_without_noise_copies_never_separate(loader):
  # The flaw of the published code: equal gradients keep equal units equal.
  model, _ = fit(loader, SHARING, noise_scale=0.0)
  assert closest_units(model, 0) < 1e-5


def test_reset_starts_fresh_and_transfer_counts_on(loader):
  moments = {}

  for mode in ('reset', 'transfer'):
    growth = ProgressiveGrowth(
        SHARING, TARGET, num_steps=203, optimizer_growth=mode)

    class Observer:

      def before_growth(self, step):
        self.small = weights_lib.read_moments(
            growth.model.optimizer, growth.model)

      def after_growth(self, step, record):
        moments[mode] = (
            self.small,
            weights_lib.read_moments(growth.model.optimizer, growth.model),
            int(growth.model.optimizer.iterations))

    growth.observer = Observer()
    model = GrowingBertPretrainer(growth.stages[0].architecture)
    # What becomes of moments does not depend on how steps are run.
    model.compile(optimizer=growth.stage_optimizer(), run_eagerly=True)
    model.fit(loader.training_batches(BatchSlice(8), seed=0),
              steps_per_epoch=4, verbose=0, callbacks=[growth])

  small, grown, iterations = moments['reset']
  assert iterations == 0
  assert all(not value.any() for value in grown[0].values())
  small, grown, iterations = moments['transfer']
  assert iterations == 3
  # Four copies of each inner unit share its gradient.
  name = 'layer_0/ffn/inner/kernel'
  np.testing.assert_allclose(
      grown[0][name], np.tile(small[0][name], (1, 4)) / 4, rtol=1e-6)
  np.testing.assert_allclose(
      grown[1][name], np.tile(small[1][name], (1, 4)) / 16, rtol=1e-6)


def test_a_model_of_another_stage_is_refused(loader):
  growth = ProgressiveGrowth(SCHEDULE, TARGET, num_steps=7)
  model = GrowingBertPretrainer(TARGET)
  model.compile(optimizer=growth.stage_optimizer())
  with pytest.raises(ValueError, match="in stage 'small'.*build it with"):
    model.fit(loader.training_batches(BatchSlice(8), seed=0),
              steps_per_epoch=7, verbose=0, callbacks=[growth])


def test_an_interrupted_fit_can_be_taken_up_again(loader):
  class Interrupt(tf_keras.callbacks.Callback):

    def on_train_batch_end(self, batch, logs=None):
      raise KeyboardInterrupt

  growth = ProgressiveGrowth(SCHEDULE, TARGET, num_steps=7)
  model = GrowingBertPretrainer(growth.stages[0].architecture)
  model.compile(optimizer=growth.stage_optimizer())
  batches = loader.training_batches(BatchSlice(8), seed=0)
  with pytest.raises(KeyboardInterrupt):
    model.fit(batches, steps_per_epoch=7, verbose=0,
              callbacks=[growth, Interrupt()])
  assert growth.step == 1
  model.fit(batches, steps_per_epoch=1, verbose=0, callbacks=[growth])
  assert growth.step == 2
  assert int(model.optimizer.iterations) == 2


def test_unknown_optimizer_growth_is_named():
  with pytest.raises(ValueError, match="optimizer_growth is 'keep'; expected"):
    ProgressiveGrowth(SCHEDULE, TARGET, 7, optimizer_growth='keep')
