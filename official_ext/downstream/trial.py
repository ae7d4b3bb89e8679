"""One fine-tuning: a model, a batch size, a learning rate, a seed."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from official.nlp.tasks import question_answering
from official.nlp.tasks import sentence_prediction
import tensorflow as tf, tf_keras

from official_ext.downstream import packed_examples
from official_ext.downstream.finetuned_model import build_task_model
from official_ext.downstream.finetuned_model import FinetunedTask
from official_ext.downstream.finetuned_model import QUESTION_ANSWERING
from official_ext.downstream.finetuned_model import REGRESSION
from official_ext.downstream.packed_examples import PackedExamples
from official_ext.downstream.predictor import INPUTS
from official_ext.downstream.pretrained import Pretrained
from official_ext.downstream.trial_settings import TrialSettings
from official_ext.modeling import dropout_state
from official_ext.modeling.non_finite import all_finite
from official_ext.training.checkpoints import find_damage
from official_ext.training.durable_files import naming_what_failed
from official_ext.training.stage_optimizer import StageOptimizer

# Between two looks at the loss.
_STEPS_A_CALL = 20


class DivergedError(RuntimeError):
  """The loss is no finite number any more."""


class Trial:
  """A model that is being fine-tuned, with all the state that a resume needs.

  Args:
    settings: of the trial.
    pretrained: what it starts from.
    task: what it is fine-tuned for.
    strategy: the devices.
    num_steps: optimizer steps of the whole trial.
    length: tokens a row of every batch.

  Attributes:
    model: of `build_task_model`.
  """

  def __init__(self, settings: TrialSettings, pretrained: Pretrained,
               task: FinetunedTask, strategy: tf.distribute.Strategy, *,
               num_steps: int, length: int):
    self._settings, self._strategy = settings, strategy
    self._num_steps, self._length = num_steps, length
    with strategy.scope():
      tf_keras.utils.set_random_seed(settings.seed)
      self.model = build_task_model(
          pretrained.architecture, task.kind, task.num_outputs,
          output_dropout=settings.output_dropout,
          attention_dropout=settings.attention_dropout)
      pretrained.initialize(self.model)
      generator = tf.random.Generator.from_seed(settings.seed)
      dropout_state.share_generator(self.model, generator)
      self._optimizer = StageOptimizer(
          num_steps=num_steps, peak_learning_rate=settings.learning_rate,
          warmup_steps=int(settings.warmup_fraction * num_steps),
          weight_decay_rate=settings.weight_decay_rate)()
      self._variables = _trained_variables(self.model)
      _create_state(self._optimizer, self._variables)
    self._loss = _loss_function(task)
    self._checkpoint = tf.train.Checkpoint(
        model=self.model, optimizer=self._optimizer, generator=generator)
    self._run = tf.function(self._train_steps)

  @property
  def step(self) -> int:
    """Steps that have been done."""
    return int(self._optimizer.iterations.numpy())

  def train(self, examples: PackedExamples, *, directory: str,
            checkpoint_interval_steps: int,
            advance: Callable[[int], None] = lambda step: None,
            warn: Callable[[str], None] = print) -> float:
    """Trains to the end, from the beginning or from the newest checkpoint.

    Args:
      examples: what to learn from.
      directory: of the trial's checkpoints.
      checkpoint_interval_steps: steps between two checkpoints; there is one at
        the end of each epoch, too.
      advance: called with the step that has been reached.
      warn: called with a line for each damaged checkpoint.

    Returns:
      The mean loss of the last steps; NaN if there was none left to do.

    Raises:
      DivergedError: the loss is no finite number any more.
      OSError: a checkpoint could not be written.
    """
    manager = tf.train.CheckpointManager(
        self._checkpoint, directory, max_to_keep=2)
    self._restore(manager, warn)
    step, loss = self.step, float('nan')
    advance(step)
    batches = iter(packed_examples.distributed(
        self._strategy, self._settings.batch_size,
        lambda rows: packed_examples.training_batches(
            examples, rows, length=self._length, seed=self._settings.seed,
            start_step=step, num_steps=self._num_steps)))
    for end in _checkpoint_steps(
        step, checkpoint_interval_steps,
        examples.num_examples // self._settings.batch_size, self._num_steps):
      while step < end:
        count = min(_STEPS_A_CALL, end - step)
        loss = float(self._run(batches, tf.constant(count))) / count
        step += count
        if not np.isfinite(loss):
          raise DivergedError(
              f'{self._settings.name}: the loss is {loss} at step {step}; use a '
              'lower learning rate')
        advance(step)
      if not all_finite(self.model.trainable_variables):
        # The loss of a step is that of the weights before it.
        raise DivergedError(
            f'{self._settings.name}: the weights are not finite after step {step}; '
            'use a lower learning rate')
      with naming_what_failed(
          directory, 'the checkpoint before it is whole; make room, and give the '
          'same command again.'):
        manager.save(checkpoint_number=step)
    return loss

  def _restore(self, manager: tf.train.CheckpointManager,
               warn: Callable[[str], None]) -> None:
    for path in reversed(manager.checkpoints):
      damage = find_damage(path)
      if damage is None:
        status = self._checkpoint.restore(path)
        status.assert_existing_objects_matched()
        return
      warn(f'checkpoint {path} is damaged ({damage}); falling back to the one '
           'before it')

  def _train_steps(self, batches: Iterator, num_steps: tf.Tensor) -> tf.Tensor:
    """So many steps; the sum of their losses, float32 `[]`."""
    total = 0.0
    for _ in tf.range(num_steps):
      losses = self._strategy.run(self._train_step, args=(next(batches),))
      total += self._strategy.reduce(
          tf.distribute.ReduceOp.SUM, losses, axis=None)
    return total

  def _train_step(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """One step on a replica's share; returns that share of the loss."""
    replicas = tf.distribute.get_replica_context()
    with tf.GradientTape() as tape:
      outputs = self.model(
          {name: features[name] for name in INPUTS}, training=True)
      loss = self._loss(features, outputs) / replicas.num_replicas_in_sync
    gradients = tape.gradient(loss, self._variables)
    # Dense, so that the embedding's norm is right: its slices repeat rows.
    gradients = replicas.all_reduce(
        tf.distribute.ReduceOp.SUM,
        [tf.convert_to_tensor(gradient) for gradient in gradients])
    # Here and not in the optimizer, which would clip each replica's share.
    if self._settings.gradient_clip_norm:
      gradients, _ = tf.clip_by_global_norm(
          gradients, self._settings.gradient_clip_norm)
    self._optimizer.apply_gradients(
        zip(gradients, self._variables),
        experimental_aggregate_gradients=False)
    return loss


def _checkpoint_steps(step: int, interval: int, epoch: int, num_steps: int
                      ) -> list[int]:
  """The steps still to come after which a checkpoint is written."""
  return [later for later in range(step + 1, num_steps + 1)
          if later % interval == 0 or epoch and later % epoch == 0
          or later == num_steps]


def _trained_variables(model: tf_keras.Model) -> list[tf.Variable]:
  """All but the encoder's own pooler, which no head reads."""
  pooler = model.checkpoint_items['encoder'].pooler_layer
  unused = {id(variable) for variable in pooler.trainable_variables}
  return [variable for variable in model.trainable_variables
          if id(variable) not in unused]


def _create_state(optimizer: tf_keras.optimizers.legacy.Adam,
                  variables: list[tf.Variable]) -> None:
  """Creates what the optimizer would create at its first step.

  A restored checkpoint is then matched at once, and the loop of steps, in which
  no variable can be made, is traced once.
  """
  for slot in ('m', 'v'):
    for variable in variables:
      optimizer.add_slot(variable, slot)
  # Reading them creates them.
  _ = optimizer.iterations, optimizer.beta_1


def _loss_function(task: FinetunedTask) -> Callable[[Mapping, object], tf.Tensor]:
  """Model Garden's own loss of a task: the mean over a replica's examples."""
  if task.kind == QUESTION_ANSWERING:
    garden_task = question_answering.QuestionAnsweringTask(
        question_answering.QuestionAnsweringConfig(validation_data=None))
    return garden_task.build_losses
  garden_task = sentence_prediction.SentencePredictionTask(
      sentence_prediction.SentencePredictionConfig(
          model=sentence_prediction.ModelConfig(num_classes=task.num_outputs)))
  if task.kind == REGRESSION:
    # A row each: Model Garden would compare every score with every label.
    return lambda features, outputs: garden_task.build_losses(
        {garden_task.label_field:
             features[garden_task.label_field][:, tf.newaxis]},
        tf.cast(outputs, tf.float32))
  return garden_task.build_losses
