"""One fine-tuning as plain data, and every mistake that it can contain."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
from typing import Any

from official_ext.downstream.trial_settings import TrialSettings
from official_ext.mistakes import did_you_mean

GLUE = 'glue'
GLUE_TASK_NAMES = (
    'cola', 'sst2', 'mrpc', 'stsb', 'qqp', 'mnli', 'qnli', 'rte', 'wnli')
SQUAD_TASK_NAMES = ('squad11', 'squad20')
TASKS = (*GLUE_TASK_NAMES, GLUE, *SQUAD_TASK_NAMES)
STRATEGIES = ('one_device', 'mirrored', 'tpu')
PRECISIONS = ('float32', 'mixed_bfloat16')
# [CLS], a token of each text, and two [SEP].
_MIN_SEQ_LENGTH = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
  """Everything that decides what a fine-tuning computes, and where.

  Building one checks nothing: `mistakes` lists all that is wrong with it.

  Attributes:
    task: one of `TASKS`; 'glue' is all of GLUE's.
    task_dir: folder of the task's files; for 'glue' the folder of the tasks'
      folders.
    checkpoint: what to fine-tune: a run directory of `train`, what `grow`,
      `convert` or `finetune` wrote, a checkpoint of Model Garden's, or a
      directory of Hugging Face.
    baseline_checkpoint: another one, fine-tuned alike and shown beside it.
    output_dir: where results, predictions and the best model go.
    vocab_file: the checkpoint's vocabulary, if none is beside it.
    lower_case: whether the tokenizer lower-cases; None goes by what the
      checkpoint says.
    allow_unfinished: takes a checkpoint in the middle of its growth.
    glue_tasks: those of GLUE's that 'glue' runs.
    batch_sizes: examples a step, over all replicas; every one is tried.
    learning_rates: peaks of the learning rate; every one is tried.
    seeds: every one is tried.
    num_epochs: passes over the training examples.
    warmup_fraction: share of the steps in which the learning rate rises.
    weight_decay_rate: decoupled weight decay, without LayerNorms and biases.
    gradient_clip_norm: greatest global norm of the gradients; 0 does not clip.
    output_dropout: dropout rate of the blocks' outputs and of the head.
    attention_dropout: dropout rate of the attention probabilities.
    seq_length: most tokens of an example; batches are no longer than the
      longest one. None means 128 for GLUE and 384 for SQuAD, at most what the
      model can read.
    doc_stride: tokens from one window on a long context to the next.
    max_query_length: tokens of a question that are read.
    max_answer_length: tokens of the longest answer.
    n_best_size: candidates for start and end of an answer, and answers in the
      n-best file.
    null_score_threshold: SQuAD 2.0: a question counts as unanswerable if the
      logits of [CLS] exceed those of its best answer by more. None takes the
      one with the best F1 on the development set.
    checkpoint_interval_steps: steps between two checkpoints of a trial, beside
      those at the end of each epoch.
    precision: 'float32' or 'mixed_bfloat16' (weights stay float32).
    strategy: 'one_device', 'mirrored' or 'tpu'.
    tpu: name of the TPU, or 'local' on a TPU VM; only for strategy 'tpu'.
    num_replicas: devices that 'mirrored' uses; None uses all.
    deterministic: make TensorFlow's kernels deterministic: the same trial gives
      the same bits.
  """

  task: str | None = None
  task_dir: str | None = None
  checkpoint: str | None = None
  baseline_checkpoint: str | None = None
  output_dir: str | None = None
  vocab_file: str | None = None
  lower_case: bool | None = None
  allow_unfinished: bool = False
  glue_tasks: Sequence[str] = GLUE_TASK_NAMES
  batch_sizes: Sequence[int] = (32,)
  learning_rates: Sequence[float] = (5e-5,)
  seeds: Sequence[int] = (0,)
  num_epochs: float = 3.0
  warmup_fraction: float = 0.1
  weight_decay_rate: float = 0.01
  gradient_clip_norm: float = 1.0
  output_dropout: float = 0.1
  attention_dropout: float = 0.1
  seq_length: int | None = None
  doc_stride: int = 128
  max_query_length: int = 64
  max_answer_length: int = 30
  n_best_size: int = 20
  null_score_threshold: float | None = None
  checkpoint_interval_steps: int = 1000
  precision: str = 'float32'
  strategy: str = 'one_device'
  tpu: str = ''
  num_replicas: int | None = None
  deterministic: bool = True

  def mistakes(self) -> list[str]:
    """Lists what is wrong, without reading a file or taking a device.

    Returns:
      One line for each, which starts with the field's name.
    """
    values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    found = [f'{name} is missing ({meaning}); give --{name}'
             for name, meaning in _REQUIRED.items() if values[name] is None]
    for name, check in _CHECKS.items():
      problem = None if values[name] is None and (
          name in _REQUIRED or name in _OPTIONAL) else check(values[name])
      if problem:
        found.append(f'{name} is {values[name]!r}; {problem}')
    wrong = {line.split()[0] for line in found}
    if not wrong & {'strategy', 'tpu', 'num_replicas', 'batch_sizes'}:
      found += self._strategy_mistakes()
    if not wrong & {'task', 'seq_length', 'max_query_length', 'doc_stride'}:
      found += self.length_mistakes()
    return found

  def trials(self) -> list[TrialSettings]:
    """The grid, in the order in which it is run."""
    shared = {f.name: getattr(self, f.name)
              for f in dataclasses.fields(TrialSettings)
              if hasattr(self, f.name)}
    return [
        TrialSettings(batch_size=batch_size, learning_rate=learning_rate,
                      seed=seed, **shared)
        for seed, batch_size, learning_rate in itertools.product(
            self.seeds, self.batch_sizes, self.learning_rates)]

  def replica_mistakes(self, num_replicas: int) -> list[str]:
    """The batch sizes that so many replicas cannot share."""
    return [
        f'batch_sizes: {size} is not divisible by {num_replicas} replicas; the '
        f'nearest that is: {num_replicas * max(1, round(size / num_replicas))}'
        for size in self.batch_sizes if size % num_replicas]

  def _strategy_mistakes(self) -> list[str]:
    if self.strategy == 'tpu' and not self.tpu:
      return ["tpu is missing though strategy is 'tpu'; give --tpu with its "
              "name, or 'local' on a TPU VM"]
    if self.tpu and self.strategy != 'tpu':
      return [f"tpu is {self.tpu!r} but strategy is {self.strategy!r}; set "
              "strategy = 'tpu' or drop tpu"]
    if self.strategy == 'one_device' and (self.num_replicas or 1) > 1:
      return [f"num_replicas is {self.num_replicas} but strategy 'one_device' "
              "has one; set strategy = 'mirrored' or drop num_replicas"]
    return self.replica_mistakes(self.num_replicas or 1)

  def length_mistakes(self) -> list[str]:
    """In what the windows on a long context do not fit together."""
    if self.task not in SQUAD_TASK_NAMES or self.seq_length is None:
      return []
    # [CLS] and two [SEP].
    room = self.seq_length - self.max_query_length - 3
    if room < 1:
      return [f'seq_length is {self.seq_length}, but a question may take '
              f'max_query_length = {self.max_query_length} tokens of it; give '
              f'at least {self.max_query_length + 4}']
    if self.doc_stride > room:
      return [f'doc_stride is {self.doc_stride}, but a window beside a long '
              f'question has {room} tokens, so that words would be skipped; '
              f'give at most {room}']
    return []


_REQUIRED = {
    'task': f'one of {", ".join(TASKS)}', 'task_dir': "the task's files",
    'checkpoint': 'what to fine-tune', 'output_dir': 'where the results go'}
_OPTIONAL = {'baseline_checkpoint', 'vocab_file', 'lower_case', 'seq_length',
             'null_score_threshold', 'num_replicas'}


def _whole(least: int):
  def check(value):
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
      return None
    return f'give a whole number of at least {least}'
  return check


def _number(least: float = -math.inf, below: float = math.inf, *,
            exclusive: bool = False):
  def check(value):
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and value < below and (
        value > least if exclusive else value >= least):
      return None
    bounds = [f'{"above" if exclusive else "of at least"} {least:g}'] * (
        least > -math.inf) + [f'below {below:g}'] * (below < math.inf)
    return ' '.join(['give a number', ' and '.join(bounds)]).strip()
  return check


def _text(value):
  return None if isinstance(value, str) and value else 'give a quoted string'


def _maybe_empty_text(value):
  return None if isinstance(value, str) else 'give a quoted string'


def _truth(value):
  return None if isinstance(value, bool) else 'give True or False'


def _one_of(choices: Sequence[str]):
  def check(value):
    if value in choices:
      return None
    hint = did_you_mean(value, choices) if isinstance(value, str) else ''
    return f'give one of {", ".join(choices)}{hint if "known" not in hint else ""}'
  return check


def _list_of(check_one, example: str):
  def check(value):
    if not isinstance(value, (list, tuple)) or not value:
      return f'give a list, such as {example}'
    problems = [f'{item!r}: {problem}' for item in value
                if (problem := check_one(item))]
    if not problems and len(set(value)) < len(value):
      problems.append('give each value once')
    return '; '.join(problems) or None
  return check


_CHECKS: Mapping[str, Any] = {
    'task': _one_of(TASKS),
    'task_dir': _text,
    'checkpoint': _text,
    'baseline_checkpoint': _text,
    'output_dir': _text,
    'vocab_file': _text,
    'lower_case': _truth,
    'allow_unfinished': _truth,
    'glue_tasks': _list_of(_one_of(GLUE_TASK_NAMES), "('cola', 'rte')"),
    'batch_sizes': _list_of(_whole(1), '(16, 32)'),
    'learning_rates': _list_of(_number(0, exclusive=True), '(5e-5, 3e-5)'),
    'seeds': _list_of(_whole(0), '(0, 1, 2)'),
    'num_epochs': _number(0, exclusive=True),
    'warmup_fraction': _number(0, 1),
    'weight_decay_rate': _number(0),
    'gradient_clip_norm': _number(0),
    'output_dropout': _number(0, 1),
    'attention_dropout': _number(0, 1),
    'seq_length': _whole(_MIN_SEQ_LENGTH),
    'doc_stride': _whole(1),
    'max_query_length': _whole(1),
    'max_answer_length': _whole(1),
    'n_best_size': _whole(1),
    'null_score_threshold': _number(),
    'checkpoint_interval_steps': _whole(1),
    'precision': _one_of(PRECISIONS),
    'strategy': _one_of(STRATEGIES),
    'tpu': _maybe_empty_text,
    'num_replicas': _whole(1),
    'deterministic': _truth,
}
