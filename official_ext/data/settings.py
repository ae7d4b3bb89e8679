"""The settings of one preparation, checked when they are put together."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareSettings:
  """Everything but the corpus that decides the bytes of a data set.

  Attributes:
    vocab_size: pieces to learn; None means as many as `vocab_file` has, or
      8192.
    vocab_file: a vocabulary to use; None means learn one.
    lower_case: whether the tokenizer lower-cases and strips accents.
    seq_length: tokens an example.
    max_predictions_per_seq: slots for predictions an example.
    masked_lm_probability: share of tokens to predict.
    whole_word_masking: whether the pieces of a word share one fate.
    short_sequence_probability: share of deliberately short examples.
    dupe_factor: how often the text is used, each time paired and masked anew.
    eval_fraction: share of the documents held out.
    num_shards: training files; held-out files are an eighth of it.
    max_input_bytes: stop reading after about so many bytes of text; None means
      read everything.
    seed: of every random choice.
  """

  vocab_size: int | None = None
  vocab_file: str | None = None
  lower_case: bool = True
  seq_length: int = 128
  max_predictions_per_seq: int = 20
  masked_lm_probability: float = 0.15
  whole_word_masking: bool = False
  short_sequence_probability: float = 0.1
  dupe_factor: int = 1
  eval_fraction: float = 0.02
  num_shards: int = 16
  max_input_bytes: int | None = None
  seed: int = 0

  def __post_init__(self):
    mistakes = [
        f'{name} is {getattr(self, name)}; give {expected}'
        for name, good, expected in (
            ('seq_length', 8 <= self.seq_length <= 32768,
             'a whole number from 8 to 32768'),
            ('max_predictions_per_seq',
             1 <= self.max_predictions_per_seq <= self.seq_length - 3,
             f'a whole number from 1 to seq_length - 3 = {self.seq_length - 3}'),
            ('masked_lm_probability', 0 < self.masked_lm_probability <= 1,
             'a number above 0 and at most 1'),
            ('short_sequence_probability',
             0 <= self.short_sequence_probability <= 1, 'a number from 0 to 1'),
            ('dupe_factor', 1 <= self.dupe_factor <= 1000,
             'a whole number from 1 to 1000'),
            ('eval_fraction', 0 <= self.eval_fraction < 1,
             'a number from 0 (nothing held out) to less than 1'),
            ('num_shards', 1 <= self.num_shards <= 10000,
             'a whole number from 1 to 10000'),
            ('max_input_bytes',
             self.max_input_bytes is None or self.max_input_bytes >= 1,
             'a whole number of at least 1'),
            ('vocab_size',
             self.vocab_size is None or 6 <= self.vocab_size <= 1 << 20,
             'a whole number from 6 to 1048576'),
            ('seed', 0 <= self.seed < 1 << 63, 'a whole number from 0 to 2**63 - 1'),
        ) if not good]
    if mistakes:
      raise ValueError('; '.join(mistakes))

  @property
  def max_tokens(self) -> int:
    """Text tokens an example: all but [CLS] and two [SEP]."""
    return self.seq_length - 3

  @property
  def num_eval_shards(self) -> int:
    return max(1, self.num_shards // 8) if self.eval_fraction else 0

  def manifest_settings(self) -> dict[str, Any]:
    """What the manifest records beside its own fields."""
    return {name: getattr(self, name) for name in (
        'masked_lm_probability', 'whole_word_masking',
        'short_sequence_probability', 'dupe_factor', 'eval_fraction',
        'num_shards', 'max_input_bytes')} | {
            'vocabulary': 'given' if self.vocab_file else 'learned'}
