"""From a training step to StableHLO, by TensorFlow, without running it."""

from collections.abc import Iterable
import dataclasses
import re

import tensorflow as tf
import tf_keras

from official_ext.analysis.preflight import step_arguments
from official_ext.analysis.preflight.step_arguments import Argument
from official_ext.analysis.preflight.step_program import StepProgram
from official_ext.mistakes import one_line
from official_ext.modeling import build_pretrainer
from official_ext.modeling import dropout_state
from official_ext.modeling import weights
from official_ext.modeling.precision import computing_in
from official_ext.training.stage_optimizer import StageOptimizer

# Only constants in the program depend on these.
_NUM_STEPS = 1000
_WARMUP_STEPS = 10
_CLIP_NORM = 1.0
_ANNEALING_STEPS = 1000

_UNSUPPORTED = re.compile(
    r"unsupported operations.*?: (?P<type>\w+) .*?\{\{node (?P<name>[^}]+)\}\}",
    re.DOTALL)
_NODE = re.compile(r"\{\{node (?P<name>[^}]+)\}\}")


class LoweringError(ValueError):
  """TensorFlow cannot turn the step into a program for a compiler.

  Attributes:
    operation: which operation is in the way; empty if it is not known.
  """

  def __init__(self, message: str, operation: str = ''):
    super().__init__(message)
    self.operation = operation


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoweredStep:
  """A training step as a program for a compiler.

  Attributes:
    text: StableHLO as MLIR text, with the names of TensorFlow's operations as
      locations.
    arguments: what it takes, in order: the features by name, then variables.
    results: names of the scalars that it returns first; the updated variables
      follow, as the module's `mhlo.input_output_alias` says.
  """

  text: str
  arguments: tuple[Argument, ...]
  results: tuple[str, ...]


def lower(program: StepProgram) -> LoweredStep:
  """StableHLO of a training step as `fit` runs it on one replica.

  Builds the model with fresh weights, and traces `GrowingTraining`'s own step;
  nothing is executed. On one replica the all-reduce is no operation.

  Args:
    program: the step.

  Raises:
    LoweringError: an operation of it has no static shape, or no equivalent.
  """
  with computing_in(program.precision):
    variables = _VariableArguments()
    model = _build(program, variables)
    specs = feature_specs(program)
    features = {
        name: tf.zeros(spec.shape, spec.dtype) for name, spec in specs.items()}

    def step(features):
      model.train_part(features, program.num_layers, program.trained_layers)
      # What `fit` reads after every step.
      return {metric.name: metric.result() for metric in model.metrics}

    try:
      traced = tf.function(step, jit_compile=True)
      concrete = traced.get_concrete_function(features)
      text = traced.experimental_get_compiler_ir(features)(stage='stablehlo')
      variables.take(concrete.variables)
      return LoweredStep(
          text=text,
          arguments=(
              *(step_arguments.of_feature(
                  program, name, specs[name].shape, specs[name].dtype.name)
                for name in sorted(specs)),
              *variables.arguments(concrete.captured_inputs)),
          results=tuple(sorted(metric.name for metric in model.metrics)))
    except (tf.errors.OpError, ValueError, TypeError) as error:
      found = _UNSUPPORTED.search(str(error)) or _NODE.search(str(error))
      operation = found['name'] if found else ''
      raise LoweringError(one_line(error), operation) from error
    finally:
      variables.release()


class _VariableArguments:
  """What variables hold, which is not kept: only their shapes are compiled.

  A model of 335 million weights with both moments would take 4 GB. TensorFlow
  also keeps every traced step that has a custom gradient, with its variables.
  """

  def __init__(self):
    self._arguments = {}
    self._variables = []
    self._zeros = {}

  def take(self, variables: Iterable[tf.Variable]) -> None:
    """Remembers arguments; variables of one shape then share one zero."""
    for variable in variables:
      if id(variable.handle) in self._arguments:
        continue
      self._arguments[id(variable.handle)] = step_arguments.of_variable(
          variable.name, variable.numpy())
      self._variables.append(variable)
      kind = tuple(variable.shape), variable.dtype
      if kind not in self._zeros:
        self._zeros[kind] = tf.zeros(*kind)
      variable.assign(self._zeros[kind], read_value=False)

  def arguments(self, handles: Iterable[tf.Tensor]) -> list[Argument]:
    """Arguments of these variables' handles."""
    return [self._arguments[id(handle)] for handle in handles]

  def release(self) -> None:
    """Leaves nothing in the variables, which cannot be read any more."""
    for variable in self._variables:
      # The operation itself checks no shape.
      tf.raw_ops.AssignVariableOp(
          resource=variable.handle, value=tf.zeros([0], variable.dtype))


def feature_specs(program: StepProgram) -> dict[str, tf.TensorSpec]:
  """Shapes of a step's batch, as `data.loader` delivers it."""
  def integers(*shape):
    return tf.TensorSpec((program.sequences, *shape), tf.int32)

  length, predictions = (
      program.architecture.sequence_length, program.num_predictions)
  specs = {'input_word_ids': integers(length), 'input_mask': integers(length)}
  if program.architecture.family == 'gpt':
    return specs
  specs |= {
      'input_type_ids': integers(length),
      'masked_lm_positions': integers(predictions),
      'masked_lm_ids': integers(predictions),
      'masked_lm_weights': tf.TensorSpec(
          (program.sequences, predictions), tf.float32)}
  if program.use_next_sentence:
    specs['next_sentence_labels'] = integers(1)
  return specs


def _build(program: StepProgram, variables: _VariableArguments
           ) -> tf_keras.Model:
  # Layers are named as in a process that has built no other model.
  tf_keras.backend.reset_uids()
  options = {}
  if program.architecture.family == 'bert':
    options = dict(query_pool_type=program.query_pool_type,
                   use_next_sentence=program.use_next_sentence)
  model = build_pretrainer(
      program.architecture, output_dropout=program.output_dropout,
      attention_dropout=program.attention_dropout,
      gradient_accumulation_steps=program.gradient_accumulation_steps,
      gradient_clip_norm=_CLIP_NORM if program.clips_gradients else 0, **options)
  variables.take(model.variables)
  optimizer = StageOptimizer(
      num_steps=_NUM_STEPS, name=program.optimizer,
      warmup_steps=_WARMUP_STEPS if program.has_warmup else 0,
      weight_decay_rate=program.weight_decay_rate)()
  dropout_state.share_generator(
      model, model.dropout_generator, for_tpu=True)
  weights.create_moments(optimizer, model)
  # Made before tracing: a compiled function may create no variables.
  _ = optimizer.iterations
  variables.take(optimizer.variables())
  model.compile(optimizer=optimizer)
  if program.architecture.norm_source_size is not None:
    model.set_norm_annealing(_ANNEALING_STEPS)
  return model
