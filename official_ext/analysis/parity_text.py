"""Text by which two models are compared: sentences, and rows of their tokens."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer

# Of many kinds, for when no text is given.
SENTENCES = (
    'The ferry to the island leaves at half past six, weather permitting.',
    'Water boils at a lower temperature on top of a mountain.',
    'She had never read a letter so short, or one that said so much.',
    'The function returns None if the key is missing.',
    'Interest rates were left unchanged for the third time in a row.',
    'Two cups of flour, a pinch of salt and one egg are all it takes.',
    'In 1969 the first two computers of that network exchanged two letters.',
    'Why would anyone paint a barn blue?',
    'The orchestra tuned for a long time before the lights went down.',
    'Proteins fold into shapes that decide what they do in a cell.',
    'He sold the bicycle, bought it back, and sold it again.',
    'Rain fell on the tin roof until four in the morning.',
    'The court found that the contract had never been signed.',
    'Most of the desert is not sand but gravel and bare rock.',
    'A goalkeeper who guesses right still misses most penalties.',
    'Set the timeout in seconds; zero waits for ever.',
    'Grandmother kept the good plates on the highest shelf.',
    'The committee will meet on Tuesday, if anyone remembers to invite it.',
    'Light from that star left it before the pyramids were built.',
    'Ok.',
)
MAX_LINES = 256
MAX_LENGTH = 128
_MASKED_SHARE = 0.15
_BATCH_SIZE = 8


def read_lines(path: str) -> list[str]:
  """The first `MAX_LINES` lines of a text that are not blank.

  Raises:
    ValueError: there are none, or they are not UTF-8.
  """
  if not tf.io.gfile.exists(path):
    raise ValueError(f'{path} is not there; give a text with a sentence a line.')
  lines = []
  with tf.io.gfile.GFile(path) as file:
    try:
      for line in file:
        if line.strip():
          lines.append(line.strip())
        if len(lines) == MAX_LINES:
          break
    except UnicodeDecodeError as error:
      raise ValueError(f'{path} is not UTF-8; give plain text.') from error
  if not lines:
    raise ValueError(f'{path} has no text; give at least one line.')
  return lines


def batches(lines: Sequence[str], tokenizer: Tokenizer, *, length: int,
            seed: int) -> Iterator[dict[str, tf.Tensor]]:
  """Rows [CLS] line [SEP], with 15 % of their pieces masked.

  Args:
    lines: one row each.
    tokenizer: of the models.
    length: longer rows are cut.
    seed: which pieces are masked depends on it and on the lines alone.

  Yields:
    Model Garden's pre-training features, at most 8 rows a batch, padded to the
    longest: `masked_lm_ids` are the pieces that were masked, and
    `unmasked_word_ids` `[batch, length]` the row as it was.
  """
  tokens = tokenizer(tf.constant(list(lines)))[:, :length - 2].to_list()
  random = np.random.default_rng(seed)
  for start in range(0, len(tokens), _BATCH_SIZE):
    yield _features(tokens[start:start + _BATCH_SIZE], tokenizer, random)


def _features(rows: list[list[int]], tokenizer: Tokenizer,
              random: np.random.Generator) -> dict[str, tf.Tensor]:
  longest = max(map(len, rows))
  num_masked = max(1, round(longest * _MASKED_SHARE))
  word_ids = np.full((len(rows), longest + 2), tokenizer.pad_id, np.int32)
  positions, weights = (
      np.zeros((len(rows), num_masked), dtype) for dtype in (np.int32, np.float32))
  for row, pieces in enumerate(rows):
    word_ids[row, :len(pieces) + 2] = [
        tokenizer.cls_id, *pieces, tokenizer.sep_id]
    count = min(len(pieces), max(1, round(len(pieces) * _MASKED_SHARE)))
    positions[row, :count] = 1 + np.sort(
        random.choice(len(pieces), count, replace=False))
    weights[row, :count] = 1
  labels = np.take_along_axis(word_ids, positions, axis=1)
  masked = word_ids.copy()
  chosen, slots = np.nonzero(weights)
  masked[chosen, positions[chosen, slots]] = tokenizer.mask_id
  lengths = np.array([[len(pieces) + 2] for pieces in rows])
  features = {
      'input_word_ids': masked,
      'unmasked_word_ids': word_ids,
      'input_mask': (np.arange(longest + 2) < lengths).astype(np.int32),
      'input_type_ids': np.zeros_like(word_ids),
      'masked_lm_positions': positions,
      'masked_lm_ids': labels,
      'masked_lm_weights': weights,
  }
  return {name: tf.constant(array) for name, array in features.items()}
