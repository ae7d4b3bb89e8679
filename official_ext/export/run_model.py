"""The model of a run, rebuilt from nothing but its run directory."""

from collections.abc import Callable
import dataclasses
import json

import tensorflow as tf

from official_ext.data.tokenizer import build_tokenizer
from official_ext.data.tokenizer import Tokenizer
from official_ext.growth.architecture import Architecture
from official_ext.modeling import build_pretrainer
from official_ext.modeling import GrowingBertPretrainer
from official_ext.modeling import GrowingGptPretrainer
from official_ext.modeling.precision import computing_in
from official_ext.training import run_directory
from official_ext.training.checkpoints import read_position
from official_ext.training.checkpoints import RunCheckpoints

Pretrainer = GrowingBertPretrainer | GrowingGptPretrainer


@dataclasses.dataclass(frozen=True)
class RunModel:
  """A trained model of either family and the tokenizer it was trained with.

  Attributes:
    model: in float32, its queries not pooled.
    tokenizer: the one that made the training data.
    vocabulary_file: its pieces, one a line.
    num_predictions: masked tokens a sequence had room for in training; 0 for a
      GPT.
  """

  model: Pretrainer
  tokenizer: Tokenizer
  vocabulary_file: str
  num_predictions: int

  @property
  def architecture(self) -> Architecture:
    return self.model.architecture


def load_run_model(model_dir: str, *, allow_unfinished: bool = False,
                   warn: Callable[[str], None] = print) -> RunModel:
  """Loads the newest undamaged checkpoint of a run.

  Args:
    model_dir: run directory of `train`.
    allow_unfinished: takes a run that has steps to go. The model is then what
      its stage has made of it so far: as deep as the stage, with the inner units
      that the stage stores, but without pooled queries, which have no weights.
    warn: called with one line for each newer, damaged checkpoint.

  Returns:
    The model and what serving it takes.

  Raises:
    ValueError: there is no run, no checkpoint, no vocabulary, or the run is
      unfinished; the message says which.
  """
  directory = run_directory.RunDirectory(model_dir)
  schedule = json.loads(_read(
      directory, run_directory.SCHEDULE_FILE,
      'give the model_dir that `train` wrote to'))
  checkpoints = RunCheckpoints(
      directory.file(run_directory.CHECKPOINTS_DIR))
  checkpoint = checkpoints.newest_valid(warn)
  if checkpoint is None:
    raise ValueError(
        f'{model_dir} has no checkpoint in checkpoints/; train it first, or give '
        'the model_dir of a run that has been trained.')
  step, stage_index = read_position(checkpoint)
  stage = schedule['stages'][stage_index]
  if step < schedule['num_steps'] and not allow_unfinished:
    raise ValueError(_unfinished(schedule, stage, checkpoint, step))
  tokenizer, vocabulary_file = _load_tokenizer(directory)
  # Pooled queries have no weights: the same variables serve without them.
  architecture = Architecture(**stage['architecture']).replace(query_pool_size=1)
  if len(tokenizer.vocabulary) != architecture.vocab_size:
    raise ValueError(
        f'{vocabulary_file} has {len(tokenizer.vocabulary)} pieces, the model '
        f'{architecture.vocab_size}; put back the vocab.txt of the data set that '
        'the run was trained on.')
  return RunModel(
      model=_restore(architecture, schedule, checkpoint),
      tokenizer=tokenizer, vocabulary_file=vocabulary_file,
      num_predictions=schedule['num_predictions'])


def _restore(architecture: Architecture, schedule: dict, checkpoint: str
             ) -> Pretrainer:
  options = {}
  if architecture.family == 'bert':
    options['use_next_sentence'] = schedule['model']['use_next_sentence']
  with computing_in('float32'):
    model = build_pretrainer(architecture, **options)
  status = tf.train.Checkpoint(
      model=model, **model.checkpoint_items).read(checkpoint)
  # The optimizer's state stays behind; every weight must be there.
  status.assert_existing_objects_matched().expect_partial()
  return model


def _load_tokenizer(directory: run_directory.RunDirectory
                    ) -> tuple[Tokenizer, str]:
  mend = ('copy it from the data directory that the run was trained on '
          f'({run_directory.DATA_MANIFEST_FILE} is its manifest.json)')
  manifest = json.loads(_read(
      directory, run_directory.DATA_MANIFEST_FILE, mend))
  _read(directory, run_directory.VOCABULARY_FILE, mend)
  vocabulary_file = directory.file(run_directory.VOCABULARY_FILE)
  return build_tokenizer(
      vocabulary_file,
      lower_case=manifest['tokenizer']['lower_case']), vocabulary_file


def _read(directory: run_directory.RunDirectory, name: str, mend: str) -> str:
  path = directory.file(name)
  if not tf.io.gfile.exists(path):
    raise ValueError(f'{directory.path} has no {name}; {mend}.')
  with tf.io.gfile.GFile(path) as file:
    return file.read()


def _unfinished(schedule: dict, stage: dict, checkpoint: str, step: int) -> str:
  architecture = Architecture(**stage['architecture'])
  target = Architecture(**schedule['stages'][-1]['architecture'])
  treated = ', treated' if architecture.is_treated else ''
  return (
      f'the run is unfinished: {checkpoint} is from step {step} of '
      f'{schedule["num_steps"]}, in stage {stage["name"]!r} with '
      f'{architecture.num_layers} of {target.num_layers} layers{treated}. Let '
      '`train` end it, or add --allow_unfinished to export the model as it is.')
