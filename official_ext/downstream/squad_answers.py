"""From start and end logits to answers, and to exact match and F1.

Answers are read off by Model Garden's `squad_lib`, and judged by its copies of
the official evaluation scripts.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

from official.nlp.data import squad_lib
from official.nlp.tasks.question_answering import RawAggregatedResult
from official.nlp.tools import squad_evaluate_v1_1
from official.nlp.tools import squad_evaluate_v2_0
import numpy as np


@dataclasses.dataclass(frozen=True)
class Answers:
  """What a model answers, by the ids of the questions.

  Attributes:
    texts: the best answer; with unanswerable questions never empty, as long as
      there is any.
    nbest: the likeliest answers: text, probability and logits of each.
    null_odds: logits of [CLS] less those of the best answer; empty without
      unanswerable questions.
  """

  texts: Mapping[str, str]
  nbest: Mapping[str, list[Mapping[str, Any]]]
  null_odds: Mapping[str, float]

  def above(self, null_score_threshold: float | None) -> dict[str, str]:
    """The answers; '' where the null odds are above a threshold."""
    if null_score_threshold is None:
      return dict(self.texts)
    return {name: '' if self.null_odds[name] > null_score_threshold else text
            for name, text in self.texts.items()}


def read_answers(
    examples: Sequence[squad_lib.SquadExample], features: Sequence[Any],
    start_logits: np.ndarray, end_logits: np.ndarray, *, n_best_size: int,
    max_answer_length: int, lower_case: bool, has_unanswerable: bool) -> Answers:
  """The best answers over all windows of each question.

  Args:
    examples: the questions.
    features: the windows, see `pack_windows`.
    start_logits: float32 `[windows, sequence]`.
    end_logits: as `start_logits`.
    n_best_size: candidates for start and end, and answers that are kept.
    max_answer_length: tokens of the longest answer.
    lower_case: whether the tokenizer lower-cases.
    has_unanswerable: whether a question may have no answer.
  """
  # Padding is no candidate.
  results = [
      RawAggregatedResult(
          feature.unique_id, starts[:len(feature.tokens)].tolist(),
          ends[:len(feature.tokens)].tolist())
      for feature, starts, ends in zip(features, start_logits, end_logits)]
  texts, nbest, odds = squad_lib.postprocess_output(
      examples, features, results, n_best_size, max_answer_length, lower_case,
      version_2_with_negative=has_unanswerable,
      null_score_diff_threshold=math.inf)
  return Answers(texts, nbest, odds)


def best_null_threshold(data: Sequence[Mapping[str, Any]], answers: Answers
                        ) -> float:
  """The threshold with the greatest F1, by the official script's search.

  Args:
    data: what is under `data` in the official file.
    answers: with unanswerable questions.
  """
  found = squad_evaluate_v2_0.evaluate(data, answers.texts, answers.null_odds)
  # The script says 0 where it is best to answer nothing.
  candidates = (found['final_f1_thresh'], min(answers.null_odds.values()) - 1)
  return max(candidates, key=lambda threshold: squad_metrics(
      data, answers.above(threshold), has_unanswerable=True)['f1'])


def squad_metrics(data: Sequence[Mapping[str, Any]], texts: Mapping[str, str],
                  *, has_unanswerable: bool) -> dict[str, float]:
  """Exact match and F1 by the official definition, as shares of one.

  Args:
    data: what is under `data` in the official file.
    texts: answer by the id of the question; '' says that there is none.
    has_unanswerable: whether the file is SQuAD 2.0's.

  Returns:
    `exact_match` and `f1`; of 2.0 also those of the questions with an answer
    (`has_answer_...`) and without (`no_answer_...`), as far as there are any.
  """
  if not has_unanswerable:
    found = squad_evaluate_v1_1.evaluate(data, texts)
    return {'exact_match': float(found['exact_match']),
            'f1': float(found['final_f1'])}
  found = squad_evaluate_v2_0.evaluate(data, texts)
  names = {'exact': 'exact_match', 'f1': 'f1',
           'HasAns_exact': 'has_answer_exact_match',
           'HasAns_f1': 'has_answer_f1',
           'NoAns_exact': 'no_answer_exact_match', 'NoAns_f1': 'no_answer_f1'}
  return {ours: found[theirs] / 100
          for theirs, ours in names.items() if theirs in found}
