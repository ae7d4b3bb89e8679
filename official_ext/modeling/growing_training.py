"""How every model that grows is trained: one step, whatever the architecture."""

from typing import Any

import tensorflow as tf, tf_keras

from official_ext.growth.architecture import Architecture
from official_ext.modeling import custom_gradients
from official_ext.modeling import dropout_state
from official_ext.modeling import gradient_accumulation
from official_ext.modeling import non_finite
from official_ext.modeling import weights
from official_ext.modeling.trained_part import drawn_index
from official_ext.modeling.trained_part import TrainedPart
from official_ext.modeling.trained_part import updated_names
from official_ext.modeling.weighted_norm import NormAnnealing


class GrowingTraining:
  """Training for a `tf_keras.Model` whose layers may be replaced in a run.

  A mixin, to stand before the model's class. It trains with plain
  `compile(optimizer=...)` and `fit` on a dataset of feature dicts. The loss is
  a sum of means over the *global* batch. Gradients are added over micro-batches
  and replicas and then clipped by their global norm, here and not in the
  optimizer: Model Garden's AdamWeightDecay would clip each replica's share.

  A class that mixes it in calls `_start_training` at the end of its
  constructor, `_finish_network` once its layers are built, and
  `_remake_functions` once they have been replaced. It defines `forward`,
  `loss_sums`, `loss_weights`, `update_metrics` and `_replace_network`.

  Attributes:
    trained_part: what `set_trained_part` said.
    gradient_clip_norm: greatest global norm of the gradients; 0 does not clip.
    gradient_accumulation_steps: micro-batches that a replica runs one after
      another in a step, each with dropout masks of its own. Change it before
      `fit`.
    dropout_generator: random state of all dropout layers, part of checkpoints.
    non_finite_watch: when the loss stopped being finite, if it did.
  """

  def forward(
      self, features: dict[str, tf.Tensor], training: bool, *,
      num_layers: int | None = None, trained_layers: int | None = None
  ) -> dict[str, tf.Tensor]:
    """The model's outputs.

    Args:
      features: one replica's share of a batch.
      training: whether dropout is on.
      num_layers: how many blocks from the bottom are run; None means all.
      trained_layers: below how many blocks from the top of these the gradient
        stops; None means nowhere.
    """
    raise NotImplementedError

  def loss_sums(self, features, outputs) -> tuple:
    """The `losses.Sums` whose means add up to the loss; None is left out."""
    raise NotImplementedError

  def loss_weights(self, features) -> list[tf.Tensor]:
    """The weights of `loss_sums`, without None, from the features alone."""
    raise NotImplementedError

  def update_metrics(self, features, outputs, *sums) -> None:
    """Adds one batch, with its `loss_sums`, to the metrics."""
    raise NotImplementedError

  @property
  def norm_annealing(self) -> NormAnnealing | None:
    """What takes weighted LayerNorms to ordinary ones; None if there are none."""
    return None

  def set_norm_annealing(self, num_steps: int) -> None:
    """Makes the weighted LayerNorms ordinary within so many training steps.

    Args:
      num_steps: counted from the growth, and so by checkpoints.

    Raises:
      ValueError: there are no weighted LayerNorms.
    """
    if self.norm_annealing is None:
      raise ValueError(
          f'set_norm_annealing: {num_steps} steps, but norm_source_size is None '
          'and LayerNorms are ordinary already; leave the call out.')
    self.norm_annealing.num_steps.assign(num_steps)

  def _start_training(
      self, *, gradient_clip_norm: float, dropout_seed: int,
      gradient_accumulation_steps: int) -> None:
    """Makes the state of training; before the metrics, which are shown in order.

    Args:
      gradient_clip_norm: greatest global norm of the gradients; 0 does not
        clip.
      dropout_seed: seed of the dropout masks, see `dropout_state`.
      gradient_accumulation_steps: micro-batches of a step.

    Raises:
      ValueError: `gradient_clip_norm` is negative, or there is no micro-batch.
    """
    if gradient_clip_norm < 0:
      raise ValueError(
          f'gradient_clip_norm is {gradient_clip_norm}; give a positive norm, '
          'or 0 for no clipping.')
    if gradient_accumulation_steps < 1:
      raise ValueError(
          f'gradient_accumulation_steps is {gradient_accumulation_steps}; give '
          'a whole number of at least 1.')
    # What a step returns is of all replicas already. Over several workers Keras
    # would add it up, and log the loss times their number.
    self.distribute_reduction_method = 'first'
    self.gradient_clip_norm = gradient_clip_norm
    self.gradient_accumulation_steps = gradient_accumulation_steps
    self._dropout_seed = self._depth_seed = dropout_seed
    self.dropout_generator = tf.random.Generator.from_seed(dropout_seed)
    self.non_finite_watch = non_finite.NonFiniteWatch()
    self.trained_part = TrainedPart()

  def _finish_network(self) -> None:
    """Takes charge of layers that have just been built."""
    dropout_state.share_generator(self, self.dropout_generator)

  def _remake_functions(self) -> None:
    """Lets go of what belongs to layers that were replaced."""
    self.trained_part = TrainedPart()
    # Made anew rather than set to None, which would leave the old functions
    # tracked, and with them the old variables alive.
    if self.train_function is not None:
      self.make_train_function(force=True)
    if self.test_function is not None:
      self.make_test_function(force=True)
    if self.predict_function is not None:
      self.make_predict_function(force=True)
    for metric in self.metrics:
      # A metric remembers its last result, a tensor of the compiled function,
      # and through it the whole old graph; an eager result takes its place.
      metric.result()

  def replace_architecture(self, architecture: Architecture) -> None:
    """Replaces the network by a fresh one; the old one is released.

    Compiled functions are made anew, since they hold the old variables. The
    optimizer is left as it is; its slots belong to the old variables, so give
    the model a new one, and then call `make_train_function(force=True)` if
    `fit` is running. Metrics and random state live on. Call under the
    strategy's scope.

    Args:
      architecture: what the model becomes, of the same family.
    """
    self._replace_network(architecture)

  def _replace_network(self, architecture: Architecture) -> None:
    """Sets `architecture`, builds the network anew, and remakes the functions."""
    raise NotImplementedError

  def set_trained_part(self, trained_layers: int | None = None,
                       sub_model_layers: int | None = None,
                       seed: int | None = None) -> None:
    """Trains only a part of the model from now on; without arguments all of it.

    What a step does not update, it does not compute gradients for either, and
    the optimizer leaves its moments alone. Evaluation is of the whole model.
    `replace_architecture` trains the whole model again, so call this after it.

    Args:
      trained_layers: see `TrainedPart`.
      sub_model_layers: see `TrainedPart`. The depth of a step depends on the
        seed and `optimizer.iterations` alone.
      seed: of the depths; None means that of the dropout masks.

    Raises:
      ValueError: the model has no such part.
    """
    part = TrainedPart(trained_layers, sub_model_layers)
    part.check(self.architecture.num_layers)
    self.trained_part = part
    self._depth_seed = self._dropout_seed if seed is None else seed
    if self.train_function is not None:
      self.make_train_function(force=True)

  def drawn_depth(self, step: int | tf.Tensor) -> tf.Tensor:
    """How many blocks, `[]` int32, the step of this number runs."""
    depths = self.trained_part.depths(self.architecture.num_layers)
    index = drawn_index(self._depth_seed, step, len(depths))
    return tf.gather(depths, index)

  def train_step(self, data):
    """One step of training on this replica's share of the batch.

    With sub-models the step runs the whole model, as the greatest of them; the
    depths are drawn outside the replicas, see `make_train_function`.

    Args:
      data: the features, which hold the labels too.

    Returns:
      dict of metric name to value since the last reset.
    """
    part = self.trained_part
    self.train_part(
        _features(data), None, part.trained_layers or part.sub_model_layers)
    return {metric.name: metric.result() for metric in self.metrics}

  def train_part(self, features: dict[str, tf.Tensor], num_layers: int | None,
                 trained_layers: int | None) -> None:
    """Updates what `forward` has a gradient for; see there for the arguments."""
    replica_context = tf.distribute.get_replica_context()
    # Known before any micro-batch is run, whose gradients can then be added.
    global_weights = custom_gradients.all_reduce_sum(
        replica_context, self.loss_weights(features))
    variables = self.updated_variables(num_layers, trained_layers)
    num_parts = self.gradient_accumulation_steps

    def loss_and_gradients(features):
      with tf.GradientTape() as tape:
        outputs = self.forward(features, True, num_layers=num_layers,
                               trained_layers=trained_layers)
        sums = self.loss_sums(features, outputs)
        present = [each for each in sums if each is not None]
        loss = tf.add_n([each.mean(weight) for each, weight in zip(
            present, global_weights, strict=True)])
        if self.losses:
          loss += tf.add_n(self.losses) / (
              replica_context.num_replicas_in_sync * num_parts)
      self.update_metrics(features, outputs, *sums)
      # The tied embedding's gradient arrives as slices with a row for every
      # piece of the vocabulary. Dense, its norm is right (slices repeat rows),
      # it adds up, and the optimizer need not look for duplicates.
      return loss, [
          None if gradient is None else tf.convert_to_tensor(gradient)
          for gradient in tape.gradient(loss, variables)]

    loss, gradients = gradient_accumulation.add_up(
        loss_and_gradients, features, variables, num_parts,
        loss_dtype=global_weights[0].dtype)
    # Unused variables, such as the encoder's own pooler, have no gradient.
    gradients, variables = zip(*(
        (gradient, variable) for gradient, variable in zip(gradients, variables)
        if gradient is not None))
    gradients = custom_gradients.all_reduce_sum(replica_context, list(gradients))
    if self.gradient_clip_norm:
      gradients, _ = tf.clip_by_global_norm(gradients, self.gradient_clip_norm)
    self.optimizer.apply_gradients(
        zip(gradients, variables), experimental_aggregate_gradients=False)
    self.non_finite_watch.update(
        custom_gradients.all_reduce_sum(replica_context, loss))
    if self.norm_annealing is not None:
      self.norm_annealing.advance()

  def updated_variables(self, num_layers: int | None = None,
                        trained_layers: int | None = None
                        ) -> list[tf.Variable]:
    """What a step may update, in the order of `trainable_variables`.

    Args:
      num_layers: see `forward`.
      trained_layers: see `forward`.
    """
    if trained_layers is None:
      return self.trainable_variables
    named = weights.named_variables(self)
    updated = {id(named[name]) for name in updated_names(
        named, num_layers or self.architecture.num_layers, trained_layers)}
    return [variable for variable in self.trainable_variables
            if id(variable) in updated]

  def make_train_function(self, force: bool = False):
    """Keras' compiled step; with sub-models one that draws a depth by itself.

    The depth is drawn inside the compiled function and outside the replicas, so
    that all of them run the same branch and meet in its all-reduce. Each branch
    is a step of a static depth, and is traced, and compiled by XLA, once.

    Args:
      force: whether to make it anew if there is one.
    """
    if self.trained_part.sub_model_layers is None:
      return super().make_train_function(force)
    if self.train_function is not None and not force:
      return self.train_function
    steps = self._steps_per_execution
    is_single = steps is None or int(steps.numpy()) == 1

    def train_function(iterator):
      # Keras, too, loops only where it may have to.
      if is_single:
        self._train_sub_model(next(iterator))
      else:
        for _ in tf.range(steps):
          self._train_sub_model(next(iterator))
      return {metric.name: metric.result() for metric in self.metrics}

    if not self.run_eagerly:
      train_function = tf.function(train_function, reduce_retracing=True)
      self.train_tf_function = train_function
    has_slots = False

    def create_slots_and_train(iterator):
      # Branches update different variables; none may create slots of its own.
      # Not before the first step, since the optimizer may still be replaced.
      nonlocal has_slots
      if not has_slots:
        self._create_slots()
        has_slots = True
      return train_function(iterator)

    self.train_function = create_slots_and_train
    return self.train_function

  def _create_slots(self) -> None:
    with self.distribute_strategy.scope():
      if isinstance(self.optimizer, tf_keras.optimizers.legacy.Optimizer):
        weights.create_moments(self.optimizer, self)
      else:
        self.optimizer.build(self.trainable_variables)

  def _train_sub_model(self, data) -> None:
    """One step of a drawn depth, seen from outside the replicas."""
    part, strategy = self.trained_part, self.distribute_strategy
    depths = part.depths(self.architecture.num_layers)

    def branch(num_layers):
      def replica_step(data):
        self.train_part(_features(data), num_layers, part.sub_model_layers)

      if self.jit_compile:
        replica_step = tf.function(
            replica_step, jit_compile=True, reduce_retracing=True)

      def run():
        strategy.run(replica_step, args=(data,))
        return tf.constant(0)

      return run

    index = drawn_index(
        self._depth_seed, self.optimizer.iterations, len(depths))
    tf.switch_case(index, [branch(depth) for depth in depths])
    self._train_counter.assign_add(1)

  def test_step(self, data):
    """As `train_step`, without training."""
    features = _features(data)
    outputs = self.forward(features, False)
    self.update_metrics(features, outputs, *self.loss_sums(features, outputs))
    return {metric.name: metric.result() for metric in self.metrics}

  def reset_metrics(self):
    super().reset_metrics()
    self.non_finite_watch.reset()


def _features(data: Any) -> dict[str, tf.Tensor]:
  """The features, whether they come bare or as `fit`'s tuple of one."""
  features, _, _ = tf_keras.utils.unpack_x_y_sample_weight(data)
  return features
