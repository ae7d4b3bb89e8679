"""A fine-tuned model: its layers, and the directory that holds one.

A directory holds `ckpt-0`, which Model Garden's own `BertClassifier` or
`BertSpanLabeler` restores strictly if the architecture is untreated, and beside
it `architecture.json`, `task.json` and `vocab.txt`.
"""

from collections.abc import Mapping
import dataclasses
import json
import os

from official.nlp.modeling import models
import tensorflow as tf, tf_keras

from official_ext.downstream.json_files import write_json
from official_ext.growth.architecture import Architecture
from official_ext.mistakes import one_line
from official_ext.modeling import checkpoint_source
from official_ext.modeling.encoder import GrowingBertEncoder
from official_ext.modeling.precision import computing_in

CLASSIFICATION, REGRESSION, QUESTION_ANSWERING = KINDS = (
    'classification', 'regression', 'question_answering')
TASK_FILE = 'task.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetunedTask:
  """What a fine-tuned model was trained for, and how it reads its texts.

  Attributes:
    task: name of the task, such as 'cola' or 'squad20'.
    kind: 'classification', 'regression' or 'question_answering'.
    label_names: of the classes, in the order of the logits; empty for the other
      kinds.
    num_texts: texts an example: a sentence, or a pair. Of a question-answering
      model the first is the question, the second the context.
    seq_length: most tokens of an example, special tokens included.
    lower_case: whether the tokenizer lower-cases.
    doc_stride: tokens from one window on a long context to the next.
    max_query_length: tokens of a question that are read.
    max_answer_length: tokens of the longest answer.
    n_best_size: candidates for start and end that are looked at.
    null_score_threshold: a question counts as unanswerable if the logits of
      [CLS] exceed those of the best answer by more; None if every question has
      an answer.
    metrics: on the development set, name to value.
    trial: which trial of the sweep it comes from.
  """

  task: str
  kind: str
  label_names: tuple[str, ...] = ()
  num_texts: int
  seq_length: int
  lower_case: bool
  doc_stride: int | None = None
  max_query_length: int | None = None
  max_answer_length: int | None = None
  n_best_size: int | None = None
  null_score_threshold: float | None = None
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
  trial: str = ''

  @property
  def num_outputs(self) -> int:
    """Logits of a sequence classifier; a regression has one."""
    return len(self.label_names) if self.kind == CLASSIFICATION else 1


@dataclasses.dataclass(frozen=True)
class FinetunedModel:
  """A fine-tuned model and what using it takes.

  Attributes:
    model: a `BertClassifier` or a `BertSpanLabeler`, in float32.
    architecture: of its encoder; without pooled queries.
    task: what it was trained for.
    vocabulary_file: its pieces, one a line.
  """

  model: tf_keras.Model
  architecture: Architecture
  task: FinetunedTask
  vocabulary_file: str


def build_task_model(
    architecture: Architecture, kind: str, num_outputs: int = 1, *,
    output_dropout: float = 0.1, attention_dropout: float = 0.1,
    initializer_stddev: float = 0.02) -> tf_keras.Model:
  """Model Garden's fine-tuning model of a kind, with fresh weights.

  A classifier has a pooler of its own, which pre-training's next-sentence
  pooler can fill; that of the encoder, which no pre-training of Model Garden's
  trains, is not used.

  Args:
    architecture: of the encoder. Pooled queries, which have no weights, are not
      pooled.
    kind: one of `KINDS`.
    num_outputs: classes; 1 for the other kinds.
    output_dropout: dropout rate of the encoder's outputs and of the head.
    attention_dropout: dropout rate of the attention probabilities.
    initializer_stddev: spread of the truncated normal that fills all kernels.

  Returns:
    From `input_word_ids`, `input_mask` and `input_type_ids` `[batch, sequence]`
    to logits `[batch, num_outputs]`, or to start and end logits
    `[batch, sequence]` each.

  Raises:
    ValueError: the architecture is not a BERT's, or the kind is unknown.
  """
  if architecture.family != 'bert':
    raise ValueError(
        f'the model is a {architecture.family.upper()}; only a BERT can be '
        'fine-tuned.')
  if kind not in KINDS:
    raise ValueError(f'kind is {kind!r}; expected one of {", ".join(KINDS)}.')
  encoder = GrowingBertEncoder.from_architecture(
      architecture.replace(query_pool_size=1), output_dropout=output_dropout,
      attention_dropout=attention_dropout,
      initializer_stddev=initializer_stddev)
  initializer = tf_keras.initializers.TruncatedNormal(stddev=initializer_stddev)
  if kind == QUESTION_ANSWERING:
    return models.BertSpanLabeler(encoder, initializer=initializer)
  return models.BertClassifier(
      encoder, num_outputs, initializer=initializer,
      dropout_rate=output_dropout, use_encoder_pooler=False)


def save_finetuned(
    directory: str, model: tf_keras.Model, architecture: Architecture,
    task: FinetunedTask, *, vocabulary_file: str) -> str:
  """Writes a fine-tuned model.

  Args:
    directory: a new one, or one to be replaced.
    model: of `build_task_model`.
    architecture: of its encoder.
    task: what it was trained for.
    vocabulary_file: copied to vocab.txt.

  Returns:
    The checkpoint's prefix.
  """
  tf.io.gfile.makedirs(directory)
  # `write`, because `save` would add a counter that no model consumes.
  prefix = _checkpoint(model).write(os.path.join(directory, 'ckpt-0'))
  with tf.io.gfile.GFile(os.path.join(directory, 'checkpoint'), 'w') as file:
    file.write('model_checkpoint_path: "ckpt-0"\n')
  tf.io.gfile.copy(
      vocabulary_file,
      os.path.join(directory, checkpoint_source.VOCABULARY_FILE), True)
  write_json(os.path.join(directory, checkpoint_source.ARCHITECTURE_FILE), {
      'architecture': dataclasses.asdict(
          architecture.replace(query_pool_size=1)),
      # No pre-training of Model Garden's trains it, and no fine-tuning.
      'untrained': ['pooler'], 'lower_case': task.lower_case})
  # Last: its presence says that the directory is whole.
  write_json(os.path.join(directory, TASK_FILE), dataclasses.asdict(task))
  return prefix


def load_finetuned(directory: str) -> FinetunedModel:
  """Loads what `save_finetuned` wrote.

  Raises:
    ValueError: the directory lacks a file, or they do not belong together.
  """
  needed = (TASK_FILE, checkpoint_source.ARCHITECTURE_FILE,
            checkpoint_source.VOCABULARY_FILE)
  missing = [name for name in needed
             if not tf.io.gfile.exists(os.path.join(directory, name))]
  if missing:
    raise ValueError(
        f'{directory} has no {", ".join(missing)}; give the directory '
        '`finetuned` that `finetune` wrote.')
  source = checkpoint_source.find_checkpoint(directory)
  task = _read_task(os.path.join(directory, TASK_FILE))
  with computing_in('float32'):
    model = build_task_model(source.architecture, task.kind, task.num_outputs)
  try:
    _checkpoint(model).read(source.prefix).assert_consumed()
  except (AssertionError, tf.errors.OpError, ValueError) as error:
    raise ValueError(
        f'{source.prefix} is not the model that {TASK_FILE} and '
        f'{checkpoint_source.ARCHITECTURE_FILE} describe '
        f'({one_line(error)[:200]}); copy all files of one directory.'
    ) from error
  return FinetunedModel(
      model, source.architecture, task,
      os.path.join(directory, checkpoint_source.VOCABULARY_FILE))


def _read_task(path: str) -> FinetunedTask:
  with tf.io.gfile.GFile(path) as file:
    try:
      fields = json.loads(file.read())
      return FinetunedTask(
          **fields | {'label_names': tuple(fields['label_names'])})
    except (ValueError, TypeError, KeyError) as error:
      raise ValueError(
          f'{path} describes no task: {one_line(error)}') from error


def _checkpoint(model: tf_keras.Model) -> tf.train.Checkpoint:
  return tf.train.Checkpoint(model=model, **model.checkpoint_items)
