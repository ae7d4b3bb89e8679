"""The work done on one chunk of the corpus: text in, rows spilled.

A chunk is what one block holds. Its random choices depend on the seed, the
split and the chunk's number alone, so it does not matter which process works
on it, or when.
"""

import dataclasses
import random
from typing import Iterable, Iterator, Sequence

import numpy as np

from official_ext.data import causal_sequences
from official_ext.data import documents as documents_lib
from official_ext.data import masking
from official_ext.data import sentence_pairs
from official_ext.data.encoder import Encoder
from official_ext.data.reader import Block
from official_ext.data.records import row_dtype
from official_ext.data.sentence_pairs import EncodedDocuments
from official_ext.data.settings import PrepareSettings
from official_ext.data.shards import spill_rows

SPLITS = ('train', 'eval')
# Tokens, padding included, that numpy works on at once: a [rows, seq_length]
# int64 array of 4 MiB, of which a few live at a time.
_TOKENS_AT_ONCE = 1 << 19


@dataclasses.dataclass(frozen=True)
class ChunkResult:
  """What became of a block.

  Attributes:
    documents, tokens: of the training split.
    held_out: the held-out documents, not yet made into rows: too few for
      "random next" text, they are gathered from many blocks first.
    left_over: int32 [tokens], the end of a causal stream that does not fill a
      sequence; gathered from many blocks too, or small files would be mostly
      padding.
  """

  documents: int
  tokens: int
  held_out: EncodedDocuments
  left_over: np.ndarray


class ChunkMaker:
  """Turns blocks into spilled rows.

  Args:
    settings: of the preparation.
    vocabulary: the pieces.
    directory: where rows are spilled.
  """

  def __init__(self, settings: PrepareSettings, vocabulary: Sequence[str],
               directory: str):
    self._settings = settings
    self._directory = directory
    self._encoder = Encoder(vocabulary, lower_case=settings.lower_case)
    self._pieces = masking.PieceTable.from_vocabulary(vocabulary)
    self._dtype = row_dtype(
        settings.seq_length, settings.max_predictions_per_seq, len(vocabulary))

  def process_block(self, block: Block, chunk: int) -> ChunkResult:
    """Tokenises a block and spills the rows of its training documents."""
    documents = documents_lib.parse_block(block)
    held_out = np.array([
        documents_lib.is_held_out(sentences, self._settings.eval_fraction)
        for sentences in documents], bool)
    encoded, kept = self._encode(documents)
    held_out = held_out[kept]
    training = sentence_pairs.select_documents(encoded, ~held_out)
    left_over = np.zeros(0, np.int32)
    if self._settings.is_causal:
      stream = causal_sequences.token_stream(training, self._pieces.sep_id)
      end = len(stream) - len(stream) % (self._settings.seq_length - 1)
      self.spill_stream(stream[:end], 'train', chunk)
      left_over = stream[end:]
    else:
      self.spill_documents(training, 'train', chunk)
    return ChunkResult(
        training.num_documents, len(training.ids),
        sentence_pairs.select_documents(encoded, held_out), left_over)

  def _encode(self, documents):
    sentences = [s for document in documents for s in document]
    ids, row_splits = self._encoder.encode(sentences)
    document_splits = np.cumsum([0] + [len(d) for d in documents])
    # Half a pair, so that a long line can be followed by its own next part.
    return sentence_pairs.split_by_length(
        ids, row_splits, document_splits, max(1, self._settings.max_tokens // 2))

  def spill_documents(self, documents: EncodedDocuments, split: str,
                      chunk: int) -> None:
    """Makes documents into rows of the objective, and spills those."""
    if self._settings.is_causal:
      self.spill_stream(
          causal_sequences.token_stream(documents, self._pieces.sep_id), split,
          chunk)
      return
    seeds = self._seeds(split, chunk)
    rng = np.random.Generator(np.random.PCG64(seeds))
    self._spill(self._masked_rows(documents, seeds, rng), split, chunk, rng)

  def spill_stream(self, stream: np.ndarray, split: str, chunk: int) -> None:
    """Packs a causal stream, int32 [tokens], into rows, and spills those."""
    rng = np.random.Generator(np.random.PCG64(self._seeds(split, chunk)))
    rows = causal_sequences.make_causal_rows(
        stream, self._pieces.cls_id, self._dtype)
    self._spill([rows], split, chunk, rng)

  def _seeds(self, split, chunk):
    return np.random.SeedSequence(
        [self._settings.seed, SPLITS.index(split), chunk]).generate_state(
            4, np.uint32)

  def _spill(self, parts: Iterable[np.ndarray], split: str, chunk: int,
             rng: np.random.Generator) -> None:
    settings = self._settings
    num_shards = (
        settings.num_shards if split == 'train' else settings.num_eval_shards)
    num_rows = 0
    for rows in parts:
      rows['key'] = rng.integers(1 << 64, size=len(rows), dtype=np.uint64)
      rows['chunk'] = chunk
      rows['row'] = np.arange(num_rows, num_rows + len(rows))
      num_rows += len(rows)
      spill_rows(self._directory, split, num_shards, rows)

  def _masked_rows(self, documents: EncodedDocuments, seeds: np.ndarray,
                   rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Pairs and masks documents `dupe_factor` times."""
    settings = self._settings
    pair_rng = random.Random(int.from_bytes(seeds.tobytes(), 'little'))
    for _ in range(settings.dupe_factor if documents.num_documents else 0):
      pairs = sentence_pairs.make_pairs(
          documents, settings.max_tokens, settings.short_sequence_probability,
          pair_rng)
      step = max(1, _TOKENS_AT_ONCE // settings.seq_length)
      for start in range(0, len(pairs), step):
        truncated = sentence_pairs.truncate(
            pairs[start:start + step], settings.max_tokens, rng)
        yield masking.make_rows(
            documents.ids, truncated, self._pieces, self._dtype,
            masked_lm_probability=settings.masked_lm_probability,
            whole_word_masking=settings.whole_word_masking, rng=rng)
