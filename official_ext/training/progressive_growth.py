"""The callback that grows a model in the middle of one `fit`."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import itertools
import time
from typing import Any
import zlib

import numpy as np
import tensorflow as tf
import tf_keras

from official_ext import growth
from official_ext.growth import Architecture
from official_ext.modeling import weights as weights_lib
from official_ext.schedules import at_start
from official_ext.schedules import describe_growth
from official_ext.schedules import GrowthSchedule
from official_ext.schedules import ResolvedStage
from official_ext.training import exact_continuation
from official_ext.training.config_fields import CHOICES
from official_ext.training.stage_optimizer import StageOptimizer

OPTIMIZER_GROWTHS = CHOICES['optimizer_growth']


class GrowthObserver:
  """What may be done around a growth; every method does nothing by default."""

  def before_growth(self, step: int) -> None:
    """The stage has ended after `step` steps; the model is still small."""

  def after_growth(self, step: int, record: dict[str, Any]) -> None:
    """The model has grown; `record` says how, see `ProgressiveGrowth`."""


@dataclasses.dataclass
class FirstExecutions:
  """What went into tracing and compiling, and must not count as step time."""

  seconds: float = 0.0
  steps: int = 0


class ProgressiveGrowth(tf_keras.callbacks.Callback):
  """Takes a model through the stages of a schedule within one `fit`.

  The model grows at exactly the scheduled step, whatever
  `steps_per_execution` is: an execution that would cross a boundary is cut in
  two. Every stage is traced once. Works under any `tf.distribute` strategy.

  Example:
    ```python
    growth = ProgressiveGrowth(compound_grow(), target, num_steps=1000)
    model = GrowingBertPretrainer(growth.stages[0].architecture)
    model.compile(optimizer=growth.stage_optimizer())
    model.fit(dataset, steps_per_epoch=1000, callbacks=[growth])
    ```

  Attributes:
    stages: the resolved stages, in order.
    source: the model that the first stage grows from; None if there is none.
    stage: the stage that the next step belongs to.
    ending_stage: while the observer is told of a growth, the stage before it;
      index -1 is the checkpoint that the run starts from.
    step: steps done so far. Set it with `resume_at` before `fit` to go on with
      a restored model.
    records: one dictionary a growth: step, stage_from, stage_to, from, to,
      operators, preserves, max_logit_difference, seconds.
    tracing: the executions that were the first of their compiled function.
    observer: told before and after each growth.
  """

  def __init__(self, schedule: GrowthSchedule, target: Architecture,
               num_steps: int, *,
               stage_optimizer: StageOptimizer | None = None,
               optimizer_growth: str = 'reset', noise_scale: float = 0.1,
               seed: int = 0, observer: GrowthObserver | None = None,
               probe: Mapping[str, Any] | None = None,
               source: Architecture | None = None,
               stage_batches: Callable[[ResolvedStage, int], Iterable[Any]]
               | None = None):
    """Creates the callback.

    Args:
      schedule: the stages, as shares of `num_steps`.
      target: the architecture of the last stage.
      num_steps: steps of the whole run.
      stage_optimizer: makes the optimizer of every stage; None means AdamW as
        in the paper.
      optimizer_growth: 'reset' starts every stage with fresh moments (the
        paper's way); 'transfer' maps the moments along with the weights and
        keeps the step count; 'continue', to test with, also scales Adam's step
        of every weight, so that the grown model goes on exactly as the small
        one would have, its new capacity unused.
      noise_scale: zero-sum noise on copied weights, as a share of their own
        standard deviation; 0 leaves copies identical for ever.
      seed: fixes the noise and every later stage's dropout.
      observer: told before and after each growth.
      probe: one small batch of features, by which the parity of each growth
        is measured; None measures nothing.
      source: the model that the first stage grows from, see `grow_source`; None
        if it starts from fresh weights.
      stage_batches: (stage, step) -> endless distributed batches from that step
        on, for the stages after the first whose sequences have another length;
        None leaves all stages to the data of `fit`.

    Raises:
      ValueError: the schedule does not fit the target and the steps, or
        `optimizer_growth` is unknown.
    """
    super().__init__()
    if optimizer_growth not in OPTIMIZER_GROWTHS:
      raise ValueError(
          f'optimizer_growth is {optimizer_growth!r}; expected one of '
          f'{", ".join(OPTIMIZER_GROWTHS)}.')
    self.stages = schedule.resolve(target, num_steps, source)
    self.stage_optimizer = (
        stage_optimizer or StageOptimizer(num_steps=num_steps))
    self.ending_stage = None
    self.step = 0
    self.records: list[dict[str, Any]] = []
    self.tracing = FirstExecutions()
    self._optimizer_growth = optimizer_growth
    self._noise_scale = noise_scale
    self._seed = seed
    self.observer = observer or GrowthObserver()
    self._probe = probe
    self.source = source and at_start(source, self.stages[0].architecture)
    self._stage_batches = stage_batches
    self._iterator = None
    self._run_steps = None
    self._untraced = None
    self._is_fresh = True
    # Nothing here reads the logs, so Keras need not fetch them every step.
    self._supports_tf_logs = True

  @property
  def stage(self):
    for stage in self.stages:
      if self.step < stage.end_step:
        return stage
    return self.stages[-1]

  def resume_at(self, step: int) -> None:
    """Declares that the model has been trained for `step` steps already."""
    self.step = step

  def grow_source(self, model: tf_keras.Model) -> None:
    """Grows a model that has the source's architecture into the first stage's.

    Call it before `fit`, on a compiled model with the source's weights.
    """
    self.set_model(model)
    self._grow(
        ResolvedStage(-1, 'init_checkpoint', 0, 0, self.source), self.stage)

  def prepare_model(self, stage: ResolvedStage, model: tf_keras.Model) -> None:
    """Says to a model that has the stage's architecture what of it is trained.

    Called by `fit`; call it yourself before restoring the state of a run.
    """
    model.set_trained_part(
        trained_layers=stage.trained_layers,
        sub_model_layers=stage.sub_model_layers,
        seed=self.stage_seed(stage.index))
    if stage.architecture.norm_source_size is not None:
      model.set_norm_annealing(stage.num_steps)

  def on_train_begin(self, logs=None):
    del logs
    if self.model.architecture != self.stage.architecture:
      raise ValueError(
          f'At step {self.step} the schedule is in stage {self.stage.name!r} '
          f'with {self.stage.architecture}, but the model is '
          f'{self.model.architecture}; build it with '
          '`ProgressiveGrowth.stage.architecture`.')
    self.prepare_model(self.stage, self.model)
    # Made anew: after a `fit` that was interrupted, what the model has is this
    # callback's own function, which would call itself.
    self._remake_train_function()

  def on_train_end(self, logs=None):
    del logs
    # The next `fit` makes its own.
    self.model.train_function = None
    self._run_steps = self._iterator = None

  def _run_execution(self, iterator):
    """Runs one execution of `fit`, cut in pieces at the growths."""
    # Keras reads the number of steps from this variable, inside the graph.
    steps_variable = self.model._steps_per_execution  # pylint: disable=protected-access
    planned = 1 if steps_variable is None else int(steps_variable.numpy())
    remaining, logs = planned, None
    while remaining:
      steps = min(remaining, max(1, self.stage.end_step - self.step))
      if steps != planned:
        steps_variable.assign(steps)
      logs = self._run_timed(self._iterator or iterator, steps)
      if steps != planned:
        steps_variable.assign(planned)
      ended = self.stage
      self.step += steps
      remaining -= steps
      if self.stage is not ended:
        self._grow(ended, self.stage)
    return logs

  def _remake_train_function(self) -> None:
    """Makes the compiled step of the model as it is now."""
    self._run_steps = self.model.make_train_function(force=True)
    self.model.train_function = self._run_execution
    # Keras' TensorBoard callback draws what is here, and fails on a function
    # that has not run yet.
    self._untraced = self.model.train_tf_function
    self.model.train_tf_function = None
    self._is_fresh = True

  def _run_timed(self, iterator, steps):
    if not self._is_fresh:
      return self._run_steps(iterator)
    start = time.monotonic()
    logs = self._run_steps(iterator)
    self.tracing.seconds += time.monotonic() - start
    self.tracing.steps += steps
    self.model.train_tf_function, self._untraced = self._untraced, None
    self._is_fresh = False
    return logs

  def _grow(self, source: ResolvedStage, target: ResolvedStage) -> None:
    self.ending_stage = source
    self.observer.before_growth(self.step)
    start = time.monotonic()
    rules = dict(width=target.width_growth, depth=target.depth_growth)
    record = {
        'step': self.step,
        'stage_from': source.index,
        'stage_to': target.index,
        'from': dataclasses.asdict(source.architecture),
        'to': dataclasses.asdict(target.architecture),
        'operators': describe_growth(source, target),
        'preserves': growth.weight_growth_preserves(
            source.end_architecture, target.architecture, **rules),
    }
    logits = self._probe_logits()
    with self.model.distribute_strategy.scope():
      self._replace_model(source, target)
    if self._run_steps is not None:
      self._remake_train_function()
    self._take_batches(source, target)
    self.model.test_function = self.model.predict_function = None
    record['max_logit_difference'] = (
        None if logits is None
        else growth.max_difference(logits, self._probe_logits()))
    record['seconds'] = time.monotonic() - start
    self.records.append(record)
    self.observer.after_growth(self.step, record)
    self.ending_stage = None

  def _take_batches(
      self, source: ResolvedStage, target: ResolvedStage) -> None:
    lengths = [stage.architecture.sequence_length for stage in (source, target)]
    # A growth before the first step leaves the data to `fit`.
    if (self._stage_batches is not None and self._run_steps is not None
        and lengths[0] != lengths[1]):
      self._iterator = iter(self._stage_batches(target, self.step))

  def _replace_model(
      self, source: ResolvedStage, target: ResolvedStage) -> None:
    model = self.model
    # The checkpoint that a run starts from brings no moments.
    transfer = self._optimizer_growth != 'reset' and source.index >= 0
    seed = self.stage_seed(target.index)
    rules = dict(width=target.width_growth, depth=target.depth_growth, seed=seed)
    weights = weights_lib.read_weights(model)
    grown = growth.grow(
        weights, source.architecture, target.architecture,
        noise_scale=self._noise_scale, **rules)
    if transfer:
      moments = growth.grow_moments(
          *weights_lib.read_moments(model.optimizer, model), source.architecture,
          target.architecture, weights=weights, **rules)
    # Dropout's generators are created with the layers: a resumed run that
    # builds this stage must give them the same seeds.
    tf_keras.utils.set_random_seed(seed)
    model.replace_architecture(target.architecture)
    weights_lib.write_weights(model, grown)
    self.prepare_model(target, model)
    model.optimizer = self.build_optimizer(target, model)
    # Keras remembers what `compile` was given, and with it the old moments.
    model._compile_config.config['optimizer'] = model.optimizer  # pylint: disable=protected-access
    if transfer:
      weights_lib.write_moments(model.optimizer, model, *moments)

  def build_optimizer(self, stage, model) -> tf_keras.optimizers.Optimizer:
    """The optimizer of a stage, its moments created and zero.

    Args:
      stage: a resolved stage of this schedule.
      model: the model as it is in that stage.
    """
    # Whoever keeps the moments keeps their step count: it corrects their bias.
    first_iteration = (
        0 if self._optimizer_growth == 'reset' else stage.start_step)
    continues = self._optimizer_growth == 'continue'
    optimizer = self.stage_optimizer(
        stage.start_step, first_iteration, scales_steps=continues)
    weights_lib.create_moments(optimizer, model)
    optimizer.iterations.assign(first_iteration)
    if continues:
      optimizer.set_scales(model, exact_continuation.continuation_scales(
          growth.weight_specs(stage.architecture), self._maps_to(stage)))
    return optimizer

  def _maps_to(self, stage: ResolvedStage) -> growth.GrowthMaps:
    """Where each unit of a stage's model comes from in the first stage's."""
    maps = growth.GrowthMaps.identity(self.stages[0].architecture)
    for before, after in itertools.pairwise(self.stages[:stage.index + 1]):
      maps = maps.then(growth.maps_between(
          before.architecture, after.architecture, width=after.width_growth,
          depth=after.depth_growth, seed=self.stage_seed(after.index)))
    return maps

  def learning_rate(self) -> float:
    """The learning rate of the newest step."""
    optimizer = self.model.optimizer
    rate = optimizer.learning_rate
    return float(rate(optimizer.iterations - 1) if callable(rate) else rate)

  def stage_seed(self, index: int) -> int:
    """Seed of everything random in the stage with this index."""
    return zlib.crc32(f'{self._seed}/stage/{index}'.encode()) & 0x7fffffff

  def _probe_logits(self) -> np.ndarray | None:
    """Masked-LM logits `[batch, predictions, vocabulary]` without pooling."""
    if self._probe is None:
      return None
    model, strategy = self.model, self.model.distribute_strategy

    def logits(features):
      return strategy.run(
          lambda batch: model.comparison_logits(batch), args=(features,))

    features = dict(self._probe)
    # A concrete function: this one is made anew for every model on purpose,
    # and TensorFlow warns of that where a plain call traces it.
    compiled = tf.function(logits).get_concrete_function(features)
    replicas = strategy.experimental_local_results(compiled(features))
    return np.asarray(replicas[0], np.float64)
