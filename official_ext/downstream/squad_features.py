"""Windows on SQuAD's contexts, by Model Garden's `squad_lib`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from official.nlp.data import squad_lib
import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer
from official_ext.downstream.packed_examples import PackedExamples

# Texts that are tokenised at a time.
_BATCH = 65536


class SquadTokenizer:
  """Our tokenizer as `squad_lib` wants one: a text at a time, pieces as strings.

  Args:
    tokenizer: of the checkpoint's vocabulary.
    texts: all that will be asked for, tokenised together beforehand; another
      text is tokenised when it comes.
  """

  def __init__(self, tokenizer: Tokenizer, texts: Iterable[str] = ()):
    self._tokenizer = tokenizer
    self._ids = {piece: number
                 for number, piece in enumerate(tokenizer.vocabulary)}
    self._pieces: dict[str, list[str]] = {}
    texts = list(dict.fromkeys(texts))
    for start in range(0, len(texts), _BATCH):
      self._add(texts[start:start + _BATCH])

  def tokenize(self, text: str) -> list[str]:
    """The pieces of a text."""
    if text not in self._pieces:
      self._add([text])
    return self._pieces[text]

  def convert_tokens_to_ids(self, pieces: Sequence[str]) -> list[int]:
    """The ids of pieces."""
    return [self._ids[piece] for piece in pieces]

  def _add(self, texts: list[str]) -> None:
    vocabulary = self._tokenizer.vocabulary
    for text, ids in zip(
        texts, self._tokenizer(tf.constant(texts)).to_list()):
      self._pieces[text] = [vocabulary[number] for number in ids]


def pack_windows(
    examples: Sequence[squad_lib.SquadExample], tokenizer: Tokenizer, *,
    seq_length: int, doc_stride: int, max_query_length: int, is_training: bool
) -> tuple[PackedExamples, list[Any]]:
  """Cuts contexts into windows: [CLS] question [SEP] window [SEP].

  Args:
    examples: of `squad_lib.read_squad_examples`.
    tokenizer: of the checkpoint's vocabulary.
    seq_length: most tokens of a window, question and special tokens included.
    doc_stride: tokens from one window to the next.
    max_query_length: tokens of a question that are read.
    is_training: whether to add `start_positions` and `end_positions`, those of
      [CLS] where the answer is not in the window.

  Returns:
    The windows of all examples, one after the other, and their
    `squad_lib.InputFeatures` without what the windows hold; empty in training.
  """
  words, types, sizes, starts, ends, kept = [], [], [0], [], [], []

  def add(feature, is_padding=False):
    del is_padding
    size = len(feature.tokens)
    words.append(np.array(feature.input_ids[:size], np.int32))
    types.append(np.array(feature.segment_ids[:size], np.int32))
    sizes.append(size)
    starts.append(feature.start_position)
    ends.append(feature.end_position)
    feature.input_ids = feature.input_mask = feature.segment_ids = None
    feature.paragraph_mask = None
    if not is_training:
      kept.append(feature)

  texts = (text for example in examples for text in (
      example.question_text, example.orig_answer_text or '',
      *example.doc_tokens))
  squad_lib.convert_examples_to_features(
      examples, SquadTokenizer(tokenizer, texts), seq_length, doc_stride,
      max_query_length, is_training, add,
      # One, so that no windows are added to fill a batch.
      batch_size=1)
  labels = {'start_positions': np.array(starts, np.int32),
            'end_positions': np.array(ends, np.int32)}
  return PackedExamples(
      np.concatenate(words), np.concatenate(types),
      np.cumsum(sizes, dtype=np.int64), labels if is_training else {}), kept
