"""A SQuAD as a trial sees it."""

from collections.abc import Mapping
import os

from official.nlp.data import squad_lib

from official_ext.data.tokenizer import Tokenizer
from official_ext.downstream import squad_answers
from official_ext.downstream.finetuned_model import FinetunedTask
from official_ext.downstream.finetuned_model import QUESTION_ANSWERING
from official_ext.downstream.json_files import write_json
from official_ext.downstream.packed_examples import PackedExamples
from official_ext.downstream.squad_features import pack_windows
from official_ext.downstream.squad_files import SquadFiles
from official_ext.downstream.task_data import Evaluation
from official_ext.downstream.task_data import Outputs

_DEV = 'dev'
# The names of Google's `run_squad`.
PREDICTIONS_FILE = 'predictions.json'
NBEST_FILE = 'nbest_predictions.json'
NULL_ODDS_FILE = 'null_odds.json'


class SquadData:
  """A `TaskData` of SQuAD 1.1 or 2.0.

  Args:
    files: what was checked, without mistakes.
    tokenizer: of the checkpoint's vocabulary.
    seq_length: most tokens of a window.
    doc_stride: tokens from one window to the next.
    max_query_length: tokens of a question that are read.
    max_answer_length: tokens of the longest answer.
    n_best_size: candidates for start and end, and answers that are kept.
    null_score_threshold: of SQuAD 2.0; None takes the best one.
  """

  def __init__(self, files: SquadFiles, tokenizer: Tokenizer, *,
               seq_length: int, doc_stride: int, max_query_length: int,
               max_answer_length: int, n_best_size: int,
               null_score_threshold: float | None):
    self._files = files
    self._null_score_threshold = null_score_threshold
    self.settings = FinetunedTask(
        task=files.task, kind=QUESTION_ANSWERING, num_texts=2,
        seq_length=seq_length, lower_case=tokenizer.lower_case,
        doc_stride=doc_stride, max_query_length=max_query_length,
        max_answer_length=max_answer_length, n_best_size=n_best_size)
    windows = dict(seq_length=seq_length, doc_stride=doc_stride,
                   max_query_length=max_query_length)
    examples = squad_lib.read_squad_examples(
        files.train_file, True, files.has_unanswerable)
    self.training, _ = pack_windows(
        examples, tokenizer, is_training=True, **windows)
    self._examples = squad_lib.read_squad_examples(
        files.dev_file, False, files.has_unanswerable)
    dev, self._features = pack_windows(
        self._examples, tokenizer, is_training=False, **windows)
    self.dev = {_DEV: dev}
    self.test: dict[str, PackedExamples] = {}
    self.test_sha256: dict[str, str] = {}
    # `squad_lib` drops those, as Google's `run_squad` does.
    num_dropped = files.num_training_questions - len(examples)
    self.remarks = [
        f'{num_dropped} of {files.num_training_questions} training questions are '
        "left out: the answer's text is not at its answer_start"
    ] if num_dropped else []

  def evaluate(self, outputs: Mapping[str, Outputs]) -> Evaluation:
    """See `TaskData`; the score is F1."""
    start_logits, end_logits = outputs[_DEV]
    answers = squad_answers.read_answers(
        self._examples, self._features, start_logits, end_logits,
        n_best_size=self.settings.n_best_size,
        max_answer_length=self.settings.max_answer_length,
        lower_case=self.settings.lower_case,
        has_unanswerable=self._files.has_unanswerable)
    threshold = None
    if self._files.has_unanswerable:
      threshold = self._null_score_threshold
      if threshold is None:
        threshold = squad_answers.best_null_threshold(
            self._files.dev_data, answers)
    metrics = squad_answers.squad_metrics(
        self._files.dev_data, answers.above(threshold),
        has_unanswerable=self._files.has_unanswerable)
    return Evaluation(metrics, metrics['f1'], threshold, answers)

  def write_predictions(self, directory: str, outputs: Mapping[str, Outputs],
                        evaluation: Evaluation) -> list[str]:
    """See `TaskData`: answers, n-best answers, and null odds of 2.0."""
    del outputs
    answers = evaluation.details
    contents = {
        PREDICTIONS_FILE: answers.above(evaluation.null_score_threshold),
        NBEST_FILE: answers.nbest}
    if self._files.has_unanswerable:
      contents[NULL_ODDS_FILE] = answers.null_odds
    for name, content in contents.items():
      write_json(os.path.join(directory, name), content)
    return list(contents)
