"""A whole fine-tuning, in the order in which it happens."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any

import tensorflow as tf, tf_keras

from official_ext.data.stored_file import file_sha256
from official_ext.data.tokenizer import build_tokenizer
from official_ext.data.vocabulary import read_vocabulary
from official_ext.downstream import finetune_config
from official_ext.downstream.finetune_config import FinetuneConfig
from official_ext.downstream.glue_data import GlueData
from official_ext.downstream.glue_files import GlueFiles
from official_ext.downstream.glue_files import read_glue_files
from official_ext.downstream.glue_tasks import GLUE_TASKS
from official_ext.downstream.pretrained import Pretrained
from official_ext.downstream.pretrained import read_pretrained
from official_ext.downstream.squad_data import SquadData
from official_ext.downstream.squad_files import read_squad_files
from official_ext.downstream.squad_files import SquadFiles
from official_ext.downstream.sweep import Sweep
from official_ext.downstream.sweep_directory import FINETUNED_DIR
from official_ext.downstream.sweep_directory import SweepDirectory
from official_ext.downstream.task_data import TaskData
from official_ext.mistakes import one_line
from official_ext.mistakes import raise_if_any
from official_ext.training.durable_files import write_beside
from official_ext.training.run_lock import RunLock
from official_ext.training.strategy import build_strategy

CHECKPOINT, BASELINE = 'checkpoint', 'baseline'
CONFIG_FILE = 'config.gin'
# What decides a trial's result, beside the files, the weights and the trial.
_FACTS = (
    'num_epochs', 'warmup_fraction', 'weight_decay_rate', 'gradient_clip_norm',
    'output_dropout', 'attention_dropout', 'precision')
_SQUAD_FACTS = ('doc_stride', 'max_query_length', 'max_answer_length',
                'n_best_size', 'null_score_threshold')

# Without these nothing can be looked at.
_NEEDED_TO_EXAMINE = {
    'task', 'task_dir', 'checkpoint', 'baseline_checkpoint', 'output_dir',
    'vocab_file', 'glue_tasks', 'seq_length', 'doc_stride', 'max_query_length'}
_SEQ_LENGTHS = {'glue': 128, 'squad': 384}

# Model ('checkpoint' or 'baseline') to task to what its `results.json` holds.
Summaries = Mapping[str, Mapping[str, Mapping[str, Any]]]


def finetune(config: FinetuneConfig, *, say: Callable[[str], None],
             mistakes: Sequence[str] | None = None, config_text: str = ''
             ) -> Summaries:
  """Fine-tunes on one task or several, a baseline too if there is one.

  Args:
    config: what to do; its checkpoints in Model Garden's form.
    say: called with a line that the user should see.
    mistakes: those that are known, told together with those that are found;
      None looks for those of `config`.
    config_text: kept in the output directory.

  Returns:
    For each model and task what `results.json` holds, and `finetuned`, where
    the best model is.

  Raises:
    ConfigurationError: something is wrong with the configuration, the files or
      the checkpoints; everything is listed, and no device has been taken.
    RunLockedError: another process is at work in the output directory.
  """
  jobs = _examine(
      config, config.mistakes() if mistakes is None else list(mistakes))
  tf_keras.mixed_precision.set_global_policy(config.precision)
  if config.deterministic:
    tf.config.experimental.enable_op_determinism()
  strategy = build_strategy(
      config.strategy, tpu=config.tpu, num_replicas=config.num_replicas)
  # Only now is it known how many replicas there are.
  raise_if_any(config.replica_mistakes(strategy.num_replicas_in_sync))
  with RunLock(config.output_dir, say=say):
    return _run(config, jobs, strategy, config_text, say)


def _run(config: FinetuneConfig, jobs: Sequence['_Job'],
         strategy: tf.distribute.Strategy, config_text: str,
         say: Callable[[str], None]) -> Summaries:
  """Runs the sweeps one after the other."""
  summaries = {}
  for job in jobs:
    data = job.load()
    for line in data.remarks:
      say(line)
    sweep = Sweep(
        data, job.pretrained, config.trials(), strategy,
        output_dir=job.output_dir, vocabulary_file=job.vocabulary_file,
        facts=job.facts,
        checkpoint_interval_steps=config.checkpoint_interval_steps,
        warn=lambda line: say(f'warning: {line}'))
    write_beside(os.path.join(job.output_dir, CONFIG_FILE), config_text)
    summaries.setdefault(job.model, {})[job.task] = {
        **sweep.run(),
        'finetuned': os.path.join(job.output_dir, FINETUNED_DIR)}
  return summaries


@dataclasses.dataclass(frozen=True)
class _Job:
  """One task for one of the models.

  Attributes:
    model: `CHECKPOINT` or `BASELINE`.
    task: its name.
    pretrained: what to fine-tune.
    vocabulary_file: of it.
    output_dir: of this job.
    facts: see `SweepDirectory.difference`.
    load: reads and tokenises the examples.
  """

  model: str
  task: str
  pretrained: Pretrained
  vocabulary_file: str
  output_dir: str
  facts: Mapping[str, Any]
  load: Callable[[], TaskData]


def _examine(config: FinetuneConfig, mistakes: list[str]) -> list[_Job]:
  """Looks at everything that is to be read, and raises with all mistakes."""
  if {line.split()[0] for line in config.mistakes()} & _NEEDED_TO_EXAMINE:
    raise_if_any(mistakes)
  models = {}
  for model, field in ((CHECKPOINT, 'checkpoint'),
                       (BASELINE, 'baseline_checkpoint')):
    path = getattr(config, field)
    if path is not None:
      try:
        pretrained = read_pretrained(
            path, allow_unfinished=config.allow_unfinished)
        models[model] = pretrained, _vocabulary_file(config, path, pretrained)
        mistakes += _length_mistakes(config, field, pretrained)
      except (ValueError, OSError) as error:
        mistakes.append(f'{field}: {one_line(error).rstrip(".")}')
  jobs = []
  for task, folder in _folders(config).items():
    found = len(mistakes)
    files = _read_files(task, folder, mistakes)
    if len(mistakes) > found:
      continue
    for model, (pretrained, vocabulary_file) in models.items():
      parts = [config.output_dir]
      parts += ['baseline'] if model == BASELINE else []
      parts += [task] if config.task == finetune_config.GLUE else []
      job = _job(config, model, task, folder, pretrained, vocabulary_file,
                 os.path.join(*parts), files.sha256)
      difference = SweepDirectory(job.output_dir).difference(job.facts)
      mistakes += [difference] if difference else []
      jobs.append(job)
  raise_if_any(mistakes)
  return jobs


def _folders(config: FinetuneConfig) -> dict[str, str]:
  """Task to the folder of its files."""
  if config.task != finetune_config.GLUE:
    return {config.task: config.task_dir}
  return {name: os.path.join(config.task_dir, GLUE_TASKS[name].folder)
          for name in config.glue_tasks}


def _read_files(task: str, folder: str, mistakes: list[str]
                ) -> GlueFiles | SquadFiles:
  if task in GLUE_TASKS:
    return read_glue_files(GLUE_TASKS[task], folder, mistakes)
  return read_squad_files(task, folder, mistakes)


def _job(config: FinetuneConfig, model: str, task: str, folder: str,
         pretrained: Pretrained, vocabulary_file: str, output_dir: str,
         sha256: Mapping[str, str]) -> _Job:
  lower_case = (pretrained.lower_case if config.lower_case is None
                else config.lower_case)
  is_glue = task in GLUE_TASKS
  seq_length = _seq_length(config, pretrained)
  facts = {name: getattr(config, name)
           for name in _FACTS + (() if is_glue else _SQUAD_FACTS)}

  def load() -> TaskData:
    # Read again: the files of all tasks at once would fill the memory.
    files = _read_files(task, folder, [])
    tokenizer = build_tokenizer(vocabulary_file, lower_case=lower_case)
    if is_glue:
      return GlueData(files, tokenizer, seq_length=seq_length)
    return SquadData(
        files, tokenizer, seq_length=seq_length,
        doc_stride=config.doc_stride, max_query_length=config.max_query_length,
        max_answer_length=config.max_answer_length,
        n_best_size=config.n_best_size,
        null_score_threshold=config.null_score_threshold)

  return _Job(model, task, pretrained, vocabulary_file, output_dir, {
      'task': task, 'files': dict(sha256), 'seq_length': seq_length,
      'lower_case': lower_case, 'checkpoint_sha256': pretrained.sha256,
      'vocabulary_sha256': file_sha256(vocabulary_file), **facts}, load)


def _seq_length(config: FinetuneConfig, pretrained: Pretrained) -> int:
  if config.seq_length is not None:
    return config.seq_length
  kind = 'squad' if config.task in finetune_config.SQUAD_TASK_NAMES else 'glue'
  return min(_SEQ_LENGTHS[kind], pretrained.architecture.max_positions)


def _length_mistakes(config: FinetuneConfig, field: str, pretrained: Pretrained
                     ) -> list[str]:
  length = _seq_length(config, pretrained)
  most = pretrained.architecture.max_positions
  if length > most:
    return [f'seq_length is {length}, but the model of --{field} has {most} '
            f'positions; give at most {most}']
  # A length that the model's positions have shortened.
  return dataclasses.replace(config, seq_length=length).length_mistakes()


def _vocabulary_file(config: FinetuneConfig, path: str, pretrained: Pretrained
                     ) -> str:
  """The vocabulary of a checkpoint, which has as many pieces as the model.

  Raises:
    ValueError: there is none, or it is another model's.
  """
  file = config.vocab_file or pretrained.vocabulary_file
  if file is None:
    raise ValueError(f'{path} has no vocab.txt beside it; give --vocab_file')
  num_pieces = len(read_vocabulary(file))
  if num_pieces != pretrained.architecture.vocab_size:
    raise ValueError(
        f'{file} has {num_pieces} pieces, the model '
        f'{pretrained.architecture.vocab_size}; give its own vocabulary')
  return file
