"""Sentence pairs for next-sentence prediction, as ranges of tokens.

Packs as BERT does (Devlin et al. 2018, appendix A.2, and its
`create_pretraining_data`): sentences are gathered until a target length is
reached and split in two at a sentence's end; half the time the second part is
replaced by text from another document, and what it replaced is used again.
Departures: short sequences are drawn for each pair, not for each document;
sentences too long for a pair are cut, not thrown away.

Python works once a pair here; everything per token is numpy's.
"""

import bisect
import dataclasses
import random

import numpy as np


@dataclasses.dataclass(frozen=True)
class EncodedDocuments:
  """Documents as token ids.

  Attributes:
    ids: int32 [tokens].
    sentence_splits: int64 [sentences + 1]: sentence i is
      `ids[sentence_splits[i]:sentence_splits[i + 1]]`, and none is empty.
    document_splits: int64 [documents + 1], likewise in sentences.
  """

  ids: np.ndarray
  sentence_splits: np.ndarray
  document_splits: np.ndarray

  @property
  def num_documents(self) -> int:
    return len(self.document_splits) - 1


def split_by_length(ids: np.ndarray, row_splits: np.ndarray,
                    document_splits: np.ndarray,
                    max_sentence_tokens: int
                    ) -> tuple[EncodedDocuments, np.ndarray]:
  """Cuts long sentences, and drops empty sentences and documents.

  Args:
    ids: int32 [tokens].
    row_splits: int64 [sentences + 1], in tokens.
    document_splits: int64 [documents + 1], in sentences.
    max_sentence_tokens: sentences longer than this are cut into runs.

  Returns:
    The documents that are left, and bool [documents] telling which those are.
  """
  lengths = np.diff(row_splits)
  runs = -(-lengths // max_sentence_tokens)  # [sentences]; 0 for an empty one.
  total = int(runs.sum())
  run_splits = np.concatenate([[0], np.cumsum(runs)])
  sentence = np.repeat(np.arange(len(lengths)), runs)
  place = np.arange(total) - run_splits[sentence]
  starts = row_splits[sentence] + place * max_sentence_tokens
  new_splits = run_splits[document_splits]
  encoded = EncodedDocuments(
      ids, np.append(starts, row_splits[-1]).astype(np.int64),
      np.unique(new_splits))
  return encoded, np.diff(new_splits) > 0


def concatenate(parts: list[EncodedDocuments]) -> EncodedDocuments:
  """The documents of several sets, in order."""
  tokens = np.cumsum([0] + [len(part.ids) for part in parts])
  sentences = np.cumsum([0] + [part.document_splits[-1] for part in parts])
  return EncodedDocuments(
      np.concatenate([part.ids for part in parts]),
      np.concatenate([[0]] + [part.sentence_splits[1:] + offset
                              for part, offset in zip(parts, tokens)]),
      np.concatenate([[0]] + [part.document_splits[1:] + offset
                              for part, offset in zip(parts, sentences)]))


def select_documents(documents: EncodedDocuments,
                     chosen: np.ndarray) -> EncodedDocuments:
  """The documents for which `chosen` (bool [documents]) is true."""
  sentence_chosen = np.repeat(chosen, np.diff(documents.document_splits))
  lengths = np.diff(documents.sentence_splits)
  ids = documents.ids[np.repeat(sentence_chosen, lengths)]
  return EncodedDocuments(
      ids, np.concatenate([[0], np.cumsum(lengths[sentence_chosen])]),
      np.concatenate(
          [[0], np.cumsum(np.diff(documents.document_splits)[chosen])]))


@dataclasses.dataclass(frozen=True)
class Pairs:
  """Sentence pairs, as ranges of `EncodedDocuments.ids`.

  Attributes:
    a_start, a_length, b_start, b_length: int64 [pairs].
    is_random_next: bool [pairs].
  """

  a_start: np.ndarray
  a_length: np.ndarray
  b_start: np.ndarray
  b_length: np.ndarray
  is_random_next: np.ndarray


def make_pairs(documents: EncodedDocuments, max_tokens: int,
               short_sequence_probability: float,
               rng: random.Random) -> list[tuple[int, int, int, int, bool]]:
  """Pairs sentences, not yet truncated.

  Args:
    documents: where both parts come from. If it holds a single document, its
      "random" next text comes from that document too.
    max_tokens: tokens of both parts together.
    short_sequence_probability: share of pairs with a shorter target, uniform
      from 2 to `max_tokens`.
    rng: the only source of chance; only `random()` is called, whose stream
      Python keeps from version to version.

  Returns:
    (a start, a end, b start, b end, is random next) for each pair, in tokens.
  """
  offsets = documents.sentence_splits.tolist()
  bounds = documents.document_splits.tolist()
  num_documents = documents.num_documents
  chance = rng.random
  pairs = []
  for document in range(num_documents):
    i, last = bounds[document], bounds[document + 1]
    while i < last:
      target = max_tokens
      if chance() < short_sequence_probability:
        target = 2 + int(chance() * (max_tokens - 1))
      end = min(bisect.bisect_left(offsets, offsets[i] + target, i + 1), last)
      a_end = i + 1
      if end - i > 1:
        a_end += int(chance() * (end - i - 1))
      is_random = end - i == 1 or chance() < 0.5
      if is_random:
        other = document
        for _ in range(10):
          other = int(chance() * num_documents)
          if other != document:
            break
        first, other_last = bounds[other], bounds[other + 1]
        b = first + int(chance() * (other_last - first))
        wanted = offsets[b] + target - (offsets[a_end] - offsets[i])
        b_end = min(bisect.bisect_left(offsets, wanted, b + 1), other_last)
        pairs.append((offsets[i], offsets[a_end], offsets[b], offsets[b_end], True))
        i = a_end  # What was replaced is used again.
      else:
        pairs.append((offsets[i], offsets[a_end], offsets[a_end], offsets[end], False))
        i = end
  return pairs


def truncate(pairs: list[tuple[int, int, int, int, bool]], max_tokens: int,
             rng: np.random.Generator) -> Pairs:
  """Shortens pairs to `max_tokens`.

  As taking one token at a time from the longer part, from its front or its
  back by the toss of a coin, but in one go.
  """
  table = np.array(pairs, np.int64).reshape(-1, 5)
  a_start, a_end, b_start, b_end, is_random = table.T
  a_length, b_length = a_end - a_start, b_end - b_start
  excess = np.maximum(a_length + b_length - max_tokens, 0)
  # First the longer part alone, down to the other's length; then both in
  # turn, the second part first.
  from_longer = np.minimum(excess, np.abs(a_length - b_length))
  rest = excess - from_longer
  a_cut = np.where(a_length > b_length, from_longer, 0) + rest // 2
  b_cut = np.where(a_length > b_length, 0, from_longer) + rest - rest // 2
  return Pairs(
      a_start + rng.binomial(a_cut, 0.5), a_length - a_cut,
      b_start + rng.binomial(b_cut, 0.5), b_length - b_cut,
      is_random.astype(bool))
