"""The settings of one preparation, checked when they are put together."""

import dataclasses
from typing import Any

OBJECTIVES = ('masked_lm', 'causal_lm')
RUNNERS = ('local', 'beam')
ON_BAD_TEXT = ('stop', 'skip')
# What None stands for in masked language modelling. In causal language
# modelling nothing is paired or masked, and these settings mean nothing.
MASKED_LM_DEFAULTS = {
    'max_predictions_per_seq': 20,
    'masked_lm_probability': 0.15,
    'whole_word_masking': False,
    'short_sequence_probability': 0.1,
    'dupe_factor': 1,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareSettings:
  """Everything but the corpus that decides the bytes of a data set.

  Attributes:
    objective: 'masked_lm', pairs of segments with masked tokens; or
      'causal_lm', sequences packed full of text.
    vocab_size: pieces to learn; None means as many as `vocab_file` has, or
      8192.
    vocab_file: a vocabulary to use; None means learn one.
    lower_case: whether the tokenizer lower-cases and strips accents.
    seq_length: tokens an example.
    max_predictions_per_seq: slots for predictions an example; 0 for causal_lm.
      This and the next four are settings of masked_lm, where None means the
      value in `MASKED_LM_DEFAULTS`; for causal_lm they must be left out.
    masked_lm_probability: share of tokens to predict.
    whole_word_masking: whether the pieces of a word share one fate.
    short_sequence_probability: share of deliberately short examples.
    dupe_factor: how often the text is used, each time paired and masked anew.
    eval_fraction: share of the documents held out.
    num_shards: training files; held-out files are an eighth of it.
    max_input_bytes: stop reading after about so many bytes of text; None means
      read everything.
    on_bad_text: 'stop', or 'skip' lines that are not UTF-8, records that are
      not JSON with a text, and the rest of files that cannot be read.
    remove_duplicates: whether paragraphs that the corpus repeats are left out;
      None means no. The embedded corpus never has any.
    seed: of every random choice.

  Raises:
    ValueError: listing everything that is wrong.
  """

  objective: str = 'masked_lm'
  vocab_size: int | None = None
  vocab_file: str | None = None
  lower_case: bool = True
  seq_length: int = 128
  max_predictions_per_seq: int | None = None
  masked_lm_probability: float | None = None
  whole_word_masking: bool | None = None
  short_sequence_probability: float | None = None
  dupe_factor: int | None = None
  eval_fraction: float = 0.02
  num_shards: int = 16
  max_input_bytes: int | None = None
  on_bad_text: str = 'stop'
  remove_duplicates: bool | None = None
  seed: int = 0

  def __post_init__(self):
    if self.objective not in OBJECTIVES:
      raise ValueError(
          f'objective is {self.objective!r}; give one of {", ".join(OBJECTIVES)}')
    if self.on_bad_text not in ON_BAD_TEXT:
      raise ValueError(
          f'on_bad_text is {self.on_bad_text!r}; give one of '
          f'{", ".join(ON_BAD_TEXT)}')
    mistakes = self._given_in_vain()
    for name, default in MASKED_LM_DEFAULTS.items():
      if getattr(self, name) is None and not self.is_causal:
        object.__setattr__(self, name, default)
    if self.is_causal:
      object.__setattr__(self, 'max_predictions_per_seq', 0)
    mistakes += self._out_of_range()
    if mistakes:
      raise ValueError('; '.join(mistakes))

  def _given_in_vain(self) -> list[str]:
    return [
        f'{name} is {getattr(self, name)!r}, but objective causal_lm pairs and '
        f'masks nothing; leave out {name}, or give objective masked_lm'
        for name in MASKED_LM_DEFAULTS
        if self.is_causal and getattr(self, name) is not None
        # What causal settings hold: `dataclasses.replace` hands it in again.
        and (name, getattr(self, name)) != ('max_predictions_per_seq', 0)]

  def _out_of_range(self) -> list[str]:
    causal = self.is_causal
    # With another mistake in it, the longest there is.
    seq_length = (self.seq_length if _is_whole(self.seq_length, 8, 32768)
                  else 32768)
    return [
        f'{name} is {getattr(self, name)!r}; give {expected}'
        for name, good, expected in (
            ('seq_length', _is_whole(self.seq_length, 8, 32768),
             'a whole number from 8 to 32768'),
            ('max_predictions_per_seq',
             causal or _is_whole(
                 self.max_predictions_per_seq, 1, seq_length - 3),
             f'a whole number from 1 to seq_length - 3 = {seq_length - 3}'),
            ('masked_lm_probability',
             causal or _is_number(self.masked_lm_probability)
             and 0 < self.masked_lm_probability <= 1,
             'a number above 0 and at most 1'),
            ('short_sequence_probability',
             causal or _is_number(self.short_sequence_probability)
             and 0 <= self.short_sequence_probability <= 1,
             'a number from 0 to 1'),
            ('whole_word_masking',
             causal or isinstance(self.whole_word_masking, bool),
             'True or False'),
            ('dupe_factor', causal or _is_whole(self.dupe_factor, 1, 1000),
             'a whole number from 1 to 1000'),
            ('eval_fraction',
             _is_number(self.eval_fraction) and 0 <= self.eval_fraction < 1,
             'a number from 0 (nothing held out) to less than 1'),
            ('num_shards', _is_whole(self.num_shards, 1, 10000),
             'a whole number from 1 to 10000'),
            ('max_input_bytes',
             self.max_input_bytes is None or _is_whole(self.max_input_bytes, 1),
             'a whole number of at least 1'),
            ('vocab_size',
             self.vocab_size is None or _is_whole(self.vocab_size, 6, 1 << 20),
             'a whole number from 6 to 1048576'),
            ('vocab_file',
             self.vocab_file is None or isinstance(self.vocab_file, str),
             'a path'),
            ('lower_case', isinstance(self.lower_case, bool), 'True or False'),
            ('remove_duplicates',
             self.remove_duplicates in (None, True, False), 'True or False'),
            ('seed', _is_whole(self.seed, 0, (1 << 63) - 1),
             'a whole number from 0 to 2**63 - 1'),
        ) if not good]

  @property
  def is_causal(self) -> bool:
    return self.objective == 'causal_lm'

  @property
  def skips_bad_text(self) -> bool:
    return self.on_bad_text == 'skip'

  @property
  def max_tokens(self) -> int:
    """Text tokens of a pair: all but [CLS] and two [SEP]."""
    return self.seq_length - 3

  @property
  def num_eval_shards(self) -> int:
    return max(1, self.num_shards // 8) if self.eval_fraction else 0

  def manifest_settings(self) -> dict[str, Any]:
    """What the manifest records beside its own fields."""
    masked_lm = () if self.is_causal else (
        'masked_lm_probability', 'whole_word_masking',
        'short_sequence_probability', 'dupe_factor')
    return {name: getattr(self, name) for name in (
        *masked_lm, 'eval_fraction', 'num_shards', 'max_input_bytes',
        'on_bad_text')} | {
            'vocabulary': 'given' if self.vocab_file else 'learned',
            'remove_duplicates': bool(self.remove_duplicates)}


def _is_whole(value: Any, least: int, most: int | None = None) -> bool:
  return (isinstance(value, int) and not isinstance(value, bool)
          and value >= least and (most is None or value <= most))


def _is_number(value: Any) -> bool:
  return isinstance(value, (int, float)) and not isinstance(value, bool)
