"""A `fit` of 12 steps through two growths, by itself or as a worker process."""

import hashlib
import json
import os

import tensorflow as tf
import tf_keras

from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from official_ext.modeling import build_pretrainer
from official_ext.modeling import weights as weights_lib
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from official_ext.training import ProgressiveGrowth
from official_ext.training import StageOptimizer
from official_ext.training.strategy import build_strategy
from official_ext.training.workers import join
from tests.training import tiny_run

NUM_STEPS = 12
SCHEDULE = GrowthSchedule((
    Stage('half', steps=4, depth=0.5, ffn_sharing=2, query_pool_size=2),
    Stage('plain', steps=3, depth=0.5),
    Stage('full', steps=5)))


class Losses(tf_keras.callbacks.Callback):
  """The loss of each step, by itself, as Keras logs it."""

  def __init__(self):
    super().__init__()
    self.values = []

  def on_train_batch_end(self, batch, logs=None):
    self.values.append(float(logs['loss']))
    self.model.reset_metrics()


class Digests:
  """A hash of all weights after each growth, and at the end."""

  def __init__(self, model):
    self._model = model
    self.values = []

  def before_growth(self, step):
    del step

  def after_growth(self, step, record):
    del step, record
    digest = hashlib.sha256()
    for name, array in sorted(weights_lib.read_weights(self._model).items()):
      digest.update(name.encode() + array.tobytes())
    self.values.append(digest.hexdigest())


def fit(data_dir, strategy):
  """Losses of all steps, and digests of the weights after each growth."""
  loader = PretrainLoader(data_dir, Manifest.read(data_dir))
  growth = ProgressiveGrowth(
      SCHEDULE, tiny_run.ARCHITECTURE.replace(num_layers=2), NUM_STEPS,
      stage_optimizer=StageOptimizer(
          num_steps=NUM_STEPS, peak_learning_rate=1e-3),
      optimizer_growth='transfer')
  tf_keras.utils.set_random_seed(1)
  with strategy.scope():
    model = build_pretrainer(
        growth.stage.architecture, output_dropout=0.0, attention_dropout=0.0)
    growth.prepare_model(growth.stage, model)
    model.compile(optimizer=growth.build_optimizer(growth.stage, model))
  batches = strategy.distribute_datasets_from_function(
      lambda context: loader.training_batches(BatchSlice(
          8, num_pipelines=context.num_input_pipelines,
          pipeline=context.input_pipeline_id,
          num_replicas=context.num_replicas_in_sync), seed=3))
  losses, growth.observer = Losses(), Digests(model)
  model.fit(batches, steps_per_epoch=NUM_STEPS, verbose=0,
            callbacks=[growth, losses])
  growth.observer.after_growth(NUM_STEPS, {})
  return losses.values, growth.observer.values


def work(addresses, index, data_dir, output_file):
  """What a process does that is the worker `index` of those at `addresses`."""
  os.environ['TF_CONFIG'] = json.dumps({
      'cluster': {'worker': addresses},
      'task': {'type': 'worker', 'index': index}})
  with join('multi_worker') as workers:
    strategy = build_strategy('multi_worker')
    workers.check_same({'steps': NUM_STEPS})
    losses, digests = fit(data_dir, strategy)
    replicas = strategy.num_replicas_in_sync
    with open(f'{output_file}.{int(workers.is_chief)}', 'w') as file:
      json.dump({'losses': losses, 'digests': digests, 'replicas': replicas},
                file)
