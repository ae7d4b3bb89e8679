"""How many tokens are masked, over a run. Needs no TensorFlow."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class MaskedShare:
  """The share of the tokens to predict, linear from the first step to the last.

  Attributes:
    start: at the first step.
    end: at the last step.
    num_steps: steps of the run.
  """

  start: float
  end: float
  num_steps: int

  def mistake(self, seq_length: int, max_predictions: int) -> str | None:
    """Says whether sequences have slots for so many predictions.

    Args:
      seq_length: tokens of a sequence.
      max_predictions: its slots.
    """
    largest = max(self.start, self.end)
    # Rounding, as in the usual 76 slots for 15 % of 512, is no mistake.
    if largest * seq_length < max_predictions + 1:
      return None
    return (f'masked share {largest:g} of {seq_length} tokens is '
            f'{largest * seq_length:.1f} predictions, but the data has room for '
            f'{max_predictions}; give at most '
            f'{max_predictions / seq_length:.3f}, or prepare the data with '
            'a larger --max_predictions_per_seq')
