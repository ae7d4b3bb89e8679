"""Which tokens are predicted, and what stands in their place.

BERT's rule (Devlin et al. 2018, section 3.1): 15 % of the tokens, of which
80 % become [MASK], 10 % a random piece and 10 % stay. With whole-word masking
the pieces of a word share one fate.
"""

import dataclasses
from typing import Sequence

import numpy as np

from official_ext.data.sentence_pairs import Pairs
from official_ext.data.vocabulary import SPECIAL_TOKENS


@dataclasses.dataclass(frozen=True)
class PieceTable:
  """What masking knows of a vocabulary.

  Attributes:
    cls_id, sep_id, mask_id: ids of special tokens.
    continues_word: bool [vocab_size], true for pieces that start with "##".
    replacements: int64 [n], the ids that a random replacement is drawn from:
      all but special and unused ones.
  """

  cls_id: int
  sep_id: int
  mask_id: int
  continues_word: np.ndarray
  replacements: np.ndarray

  @classmethod
  def from_vocabulary(cls, vocabulary: Sequence[str]) -> 'PieceTable':
    index = {piece: i for i, piece in enumerate(vocabulary)}
    return cls(
        index['[CLS]'], index['[SEP]'], index['[MASK]'],
        np.array([piece.startswith('##') for piece in vocabulary]),
        np.array([i for i, piece in enumerate(vocabulary)
                  if piece not in SPECIAL_TOKENS
                  and not piece.startswith('[unused')], np.int64))


def make_rows(ids: np.ndarray, pairs: Pairs, pieces: PieceTable,
              dtype: np.dtype, *, masked_lm_probability: float,
              whole_word_masking: bool, rng: np.random.Generator) -> np.ndarray:
  """Rows `[CLS] A [SEP] B [SEP]`, masked. `key`, `chunk`, `row` stay 0.

  Args:
    ids: int32 [tokens], what the pairs' ranges point into.
    pairs: truncated pairs.
    pieces: of the vocabulary.
    dtype: from `row_dtype`.
    masked_lm_probability: share of the tokens, special ones counted, to predict.
    whole_word_masking: whether the pieces of a word share one fate.
    rng: the only source of chance.
  """
  rows = np.zeros(len(pairs.a_start), dtype)
  sequence, is_text = _assemble(ids, pairs, pieces, rows)
  max_predictions = rows['positions'].shape[1]
  budget = np.clip(np.rint(rows['length'] * masked_lm_probability), 1,
                   max_predictions).astype(np.int64)
  if whole_word_masking:
    chosen, unit = _choose_words(sequence, is_text, budget, pieces, rng)
  else:
    chosen = _choose_tokens(is_text, budget, rng)
    unit = None
  _record_predictions(rows, sequence, chosen)
  rows['ids'] = _replace(sequence, chosen, unit, pieces, rng)
  return rows


def _assemble(ids, pairs, pieces, rows):
  """The unmasked sequences; fills the rows' lengths and labels.

  Returns:
    sequence int64 [rows, seq_length], and is_text bool, false for special
    tokens and padding.
  """
  a, b = pairs.a_length[:, None], pairs.b_length[:, None]  # [rows, 1]
  place = np.arange(rows['ids'].shape[1])  # [seq_length]
  in_a = (place >= 1) & (place <= a)
  in_b = (place >= a + 2) & (place < a + 2 + b)
  source = np.where(in_a, pairs.a_start[:, None] + place - 1,
                    pairs.b_start[:, None] + place - a - 2)
  is_text = in_a | in_b
  sequence = np.where(is_text, ids[np.where(is_text, source, 0)], 0).astype(np.int64)
  sequence[:, 0] = pieces.cls_id
  sequence[(place == a + 1) | (place == a + 2 + b)] = pieces.sep_id
  rows['length'] = pairs.a_length + pairs.b_length + 3
  rows['b_start'] = pairs.a_length + 2
  rows['is_random_next'] = pairs.is_random_next
  return sequence, is_text


def _choose_tokens(is_text, budget, rng):
  """bool [rows, seq_length] with `budget` (or all) text tokens of each row."""
  draws = np.where(is_text, rng.random(is_text.shape, np.float32), 2)
  most = min(int(budget.max(initial=1)), is_text.shape[1] - 1)
  # The draw of the budget-th token is the threshold; only the smallest ones
  # need sorting to find it.
  smallest = np.sort(np.partition(draws, most, axis=1)[:, :most], axis=1)
  last = np.minimum(budget, is_text.sum(axis=1)) - 1
  threshold = smallest[np.arange(len(draws)), last][:, None]
  chosen = is_text & (draws <= threshold)
  # Equal draws can push a row over its budget.
  return chosen & (np.cumsum(chosen, axis=1) <= budget[:, None])


def _choose_words(sequence, is_text, budget, pieces, rng):
  """Whole words in random order, those that no longer fit left out.

  Returns:
    chosen, as `_choose_tokens`; and unit int64 [rows, seq_length]: the number
    of the word that a place belongs to.
  """
  num_rows, seq_length = sequence.shape
  after_special = np.ones_like(is_text)
  after_special[:, 1:] = ~is_text[:, :-1]
  starts = is_text & (~pieces.continues_word[sequence] | after_special)
  word = np.cumsum(starts, axis=1) - 1  # Special tokens inherit; masked below.
  num_words = int(starts.sum(axis=1).max(initial=0))
  flat = (np.arange(num_rows)[:, None] * max(num_words, 1) + word)[is_text]
  sizes = np.bincount(flat, minlength=num_rows * num_words).reshape(
      num_rows, num_words)
  order = np.argsort(np.where(sizes > 0, rng.random(sizes.shape), 2), axis=1)
  taken = np.zeros((num_rows, num_words), bool)
  left = budget.copy()
  every_row = np.arange(num_rows)
  for turn in range(num_words):
    candidate = order[:, turn]
    size = sizes[every_row, candidate]
    fits = (size > 0) & (size <= left)
    taken[every_row, candidate] = fits
    left -= np.where(fits, size, 0)
  word = np.maximum(word, 0)
  if not num_words:
    return np.zeros_like(is_text), word
  return is_text & np.take_along_axis(taken, word, axis=1), word


def _record_predictions(rows, sequence, chosen):
  """Fills positions, labels and their number, in order of position."""
  row, position = np.nonzero(chosen)
  counts = chosen.sum(axis=1)
  slot = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
  rows['num_predictions'] = counts
  rows['positions'][row, slot] = position
  rows['labels'][row, slot] = sequence[row, position]


def _replace(sequence, chosen, unit, pieces, rng):
  """The sequence with 80 % of `chosen` masked and 10 % replaced."""
  if unit is None:
    fate = rng.random(int(chosen.sum()), np.float32)
  else:
    row, position = np.nonzero(chosen)
    fate = rng.random(sequence.shape, np.float32)[row, unit[row, position]]
  original = sequence[chosen]
  random_piece = pieces.replacements[
      rng.integers(len(pieces.replacements), size=len(original))]
  masked = sequence.copy()
  masked[chosen] = np.where(
      fate < 0.8, pieces.mask_id, np.where(fate < 0.9, random_piece, original))
  return masked
