"""What a trial needs to know of its task: examples, metrics, predictions."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol

import numpy as np

from official_ext.downstream.finetuned_model import FinetunedTask
from official_ext.downstream.packed_examples import PackedExamples

# Logits `[examples, classes]`, or start and end logits `[examples, sequence]`.
Outputs = np.ndarray | tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What a model's outputs on the development set come to.

  Attributes:
    metrics: name to value.
    score: what trials are compared by; the greatest is the best.
    null_score_threshold: for tasks that have one.
    details: what the task itself makes predictions of.
  """

  metrics: Mapping[str, float]
  score: float
  null_score_threshold: float | None = None
  details: Any = None


class TaskData(Protocol):
  """The examples of a task, ready to be learnt, and what is made of outputs.

  Attributes:
    settings: what a fine-tuned model's directory says; no metrics yet.
    training: what to learn from.
    dev: split to examples whose labels are known.
    test: name of a file of predictions to examples; may be empty.
    test_sha256: name of each file that `test` is from to its hash.
    remarks: lines that the user should see.
  """

  settings: FinetunedTask
  training: PackedExamples
  dev: Mapping[str, PackedExamples]
  test: Mapping[str, PackedExamples]
  test_sha256: Mapping[str, str]
  remarks: list[str]

  def evaluate(self, outputs: Mapping[str, Outputs]) -> Evaluation:
    """The metrics of the outputs for every split of `dev`."""

  def write_predictions(self, directory: str, outputs: Mapping[str, Outputs],
                        evaluation: Evaluation) -> list[str]:
    """Writes predictions for `dev` and `test`, as far as there are any.

    Args:
      directory: where; exists.
      outputs: for every split of `dev` and every file of `test`.
      evaluation: of the same outputs.

    Returns:
      The names of the files.
    """
