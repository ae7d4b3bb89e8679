"""Masks that are drawn when a batch is read, other ones in each epoch.

RoBERTa (Liu et al., 2019, section 4.1). What is chosen and what stands in its
place follows `masking.py`, the rule of BERT that `prepare` applies. The masks
are a pure function of (seed, step, row of the global batch): a resumed run, and
a run on another number of workers, draws the same.

TensorFlow ops only, so that an input pipeline can run on hosts without Python.
"""

from collections.abc import Mapping
import dataclasses

import tensorflow as tf

from official_ext.data.masked_share import MaskedShare
from official_ext.data.masking import PieceTable

_MASKED, _MASKED_OR_REPLACED = 0.8, 0.9
_TOKEN_DRAWS, _SLOT_DRAWS = 0, 1

Features = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class DynamicMasking:
  """Draws the masks of batches.

  Attributes:
    share: the share of the tokens to predict.
    pieces: of the vocabulary.
    whole_words: whether the pieces of a word share one fate.
    seed: of the draws.
  """

  share: MaskedShare
  pieces: PieceTable
  whole_words: bool
  seed: int

  def __call__(self, features: Mapping[str, tf.Tensor], step: tf.Tensor,
               first_row: tf.Tensor, batch_size: int) -> Features:
    """Masks a part of a global batch.

    Args:
      features: Model Garden's, with the masks that `prepare` drew:
        `input_word_ids` and `input_mask` `[rows, length]`,
        `masked_lm_positions`, `masked_lm_ids` and `masked_lm_weights`
        `[rows, predictions]`.
      step: of the run, [].
      first_row: the first of these rows in the global batch, [].
      batch_size: rows of the global batch.

    Returns:
      The features with other masks.
    """
    words = restore(features)
    num_rows, length = words.shape
    num_slots = features['masked_lm_ids'].shape[1]
    is_text = (tf.cast(features['input_mask'], tf.bool)
               & (words != self.pieces.cls_id) & (words != self.pieces.sep_id))
    num_tokens = tf.reduce_sum(features['input_mask'], axis=1)
    budget = tf.round(
        tf.cast(num_tokens, tf.float32) * _share_at(self.share, step))
    budget = tf.clip_by_value(tf.cast(budget, tf.int32), 1, num_slots)
    # Drawn for the whole batch, so that the number of readers does not matter.
    draws = self._draws(step, _TOKEN_DRAWS, [batch_size, length])
    draws = draws[first_row:first_row + num_rows]
    fates, choices = tf.unstack(self._draws(
        step, _SLOT_DRAWS, [2, batch_size, length])[
            :, first_row:first_row + num_rows])
    if self.whole_words:
      word = self._word_numbers(words, is_text)
      chosen = _choose_words(draws, is_text, word, budget)
      fates = tf.gather(fates, word, batch_dims=1)
    else:
      chosen = _choose_tokens(draws, is_text, budget, num_slots)
    positions = tf.range(length)
    # Chosen positions first, in ascending order.
    order = tf.argsort(
        tf.where(chosen, positions, length + positions), axis=1)[:, :num_slots]
    is_used = tf.gather(chosen, order, batch_dims=1)
    replacements = tf.constant(self.pieces.replacements, words.dtype)
    random_pieces = tf.gather(replacements, tf.cast(
        choices * float(len(self.pieces.replacements)), tf.int32))
    replaced = tf.where(
        fates < _MASKED, tf.constant(self.pieces.mask_id, words.dtype),
        tf.where(fates < _MASKED_OR_REPLACED, random_pieces, words))
    return dict(features) | {
        'input_word_ids': tf.where(chosen, replaced, words),
        'masked_lm_positions': tf.where(
            is_used, tf.cast(order, features['masked_lm_positions'].dtype), 0),
        'masked_lm_ids': tf.where(
            is_used, tf.gather(words, order, batch_dims=1), 0),
        'masked_lm_weights': tf.cast(
            is_used, features['masked_lm_weights'].dtype)}

  def _draws(self, step, purpose: int, shape) -> tf.Tensor:
    """Numbers in [0, 1) that depend on seed, step and purpose alone."""
    seed = tf.constant([self.seed & 0x7fffffff, 0x3a5c], tf.int32)
    for part in (step, purpose):
      seed = tf.random.experimental.stateless_fold_in(
          seed, tf.cast(part, tf.int32))
    return tf.random.stateless_uniform(shape, seed, alg='philox')

  def _word_numbers(self, words: tf.Tensor, is_text: tf.Tensor) -> tf.Tensor:
    """The number of the word within its row, from 0, `[rows, length]`."""
    continues = tf.gather(tf.constant(self.pieces.continues_word), words)
    after_special = tf.pad(
        ~is_text[:, :-1], [[0, 0], [1, 0]], constant_values=True)
    starts = is_text & (~continues | after_special)
    return tf.maximum(tf.cumsum(tf.cast(starts, tf.int32), axis=1) - 1, 0)


def _share_at(share: MaskedShare, step: tf.Tensor) -> tf.Tensor:
  """The share at a step of the run, [] float32."""
  progress = tf.cast(step, tf.float32) / max(1, share.num_steps - 1)
  return share.start + (share.end - share.start) * tf.minimum(progress, 1.0)


def restore(features: Mapping[str, tf.Tensor]) -> tf.Tensor:
  """The token ids before `prepare` masked them, `[rows, length]`."""
  words = features['input_word_ids']
  num_rows, num_slots = features['masked_lm_ids'].shape
  is_used = features['masked_lm_weights'] > 0
  rows = tf.repeat(tf.range(num_rows)[:, tf.newaxis], num_slots, axis=1)
  places = tf.stack([rows, features['masked_lm_positions']], axis=-1)
  return tf.tensor_scatter_nd_update(
      words, tf.boolean_mask(places, is_used),
      tf.boolean_mask(features['masked_lm_ids'], is_used))


def _choose_tokens(draws, is_text, budget, num_slots: int) -> tf.Tensor:
  """Bool `[rows, length]` with `budget` (or all) text tokens of each row."""
  smallest = -tf.math.top_k(
      -tf.where(is_text, draws, 2.0), min(num_slots, draws.shape[1])).values
  last = tf.gather(smallest, budget - 1, batch_dims=1)[:, tf.newaxis]
  chosen = is_text & (draws <= last)
  # Equal draws can push a row over its budget.
  return chosen & (
      tf.cumsum(tf.cast(chosen, tf.int32), axis=1) <= budget[:, tf.newaxis])


def _choose_words(draws, is_text, word, budget) -> tf.Tensor:
  """Whole words in random order, those that no longer fit left out.

  Args:
    draws: float32 `[rows, length]`; word w is drawn by entry w of its row.
    is_text: bool `[rows, length]`.
    word: int32 `[rows, length]`, the word that each token belongs to.
    budget: int32 `[rows]`, tokens to choose at most.
  """
  num_rows, length = is_text.shape
  flat = word + length * tf.range(num_rows)[:, tf.newaxis]
  sizes = tf.reshape(tf.math.unsorted_segment_sum(
      tf.cast(is_text, tf.int32), flat, num_rows * length), [num_rows, length])
  order = tf.argsort(tf.where(sizes > 0, draws, 2.0), axis=1)
  in_order = tf.transpose(tf.gather(sizes, order, batch_dims=1))

  def take(state, size):
    left, _ = state
    fits = (size > 0) & (size <= left)
    return tf.where(fits, left - size, left), fits

  _, taken = tf.scan(
      take, in_order, (budget, tf.zeros_like(budget, tf.bool)))
  # `taken` is by turn; each word asks for its own.
  turn = tf.argsort(order, axis=1)
  taken = tf.gather(tf.transpose(taken), turn, batch_dims=1)
  return is_text & tf.gather(taken, word, batch_dims=1)
