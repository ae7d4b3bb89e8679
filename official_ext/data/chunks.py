"""The work done on one chunk of the corpus: text in, rows out.

A chunk is what one block holds, or a part of a gathering. Its random choices
depend on the seed and the chunk's name alone, so it does not matter which
process works on it, or when.
"""

import dataclasses
import random
from collections.abc import Callable
from typing import Iterable, Iterator, Sequence

import numpy as np

from official_ext.data import causal_sequences
from official_ext.data import corpus
from official_ext.data import documents as documents_lib
from official_ext.data import masking
from official_ext.data import sentence_pairs
from official_ext.data.bad_text import BadText
from official_ext.data.corpus import ChunkName
from official_ext.data.encoder import Encoder
from official_ext.data.reader import Block
from official_ext.data.records import row_dtype
from official_ext.data.sentence_pairs import EncodedDocuments
from official_ext.data.settings import PrepareSettings
from official_ext.data.shards import rows_by_shard

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
    bad_text: the lines that were left out.
  """

  documents: int
  tokens: int
  held_out: EncodedDocuments
  left_over: np.ndarray
  bad_text: BadText


class ChunkMaker:
  """Turns text into rows.

  Args:
    settings: of the preparation.
    vocabulary: the pieces.
    emit: called with (split, number of the shard, rows) as rows are made.
  """

  def __init__(self, settings: PrepareSettings, vocabulary: Sequence[str],
               emit: Callable[[str, int, np.ndarray], None]):
    self._settings = settings
    self._emit = emit
    self._encoder = Encoder(vocabulary, lower_case=settings.lower_case)
    self._pieces = masking.PieceTable.from_vocabulary(vocabulary)
    self._dtype = row_dtype(
        settings.seq_length, settings.max_predictions_per_seq, len(vocabulary))

  def process_block(self, block: Block, file: int, number: int) -> ChunkResult:
    """Tokenises a block and emits the rows of its training documents.

    Args:
      block: the text.
      file: number of the file in the corpus.
      number: of the block in the file.

    Raises:
      ValueError: naming file and line, if a line cannot be used and is not to
        be skipped.
    """
    bad_text = BadText()
    documents = documents_lib.parse_block(
        block, bad_text if self._settings.skips_bad_text else None)
    held_out = np.array([
        documents_lib.is_held_out(sentences, self._settings.eval_fraction)
        for sentences in documents], bool)
    encoded, kept = self._encode(documents)
    held_out = held_out[kept]
    training = sentence_pairs.select_documents(encoded, ~held_out)
    left_over = np.zeros(0, np.int32)
    name = ChunkName(corpus.BLOCK, (file, number))
    if self._settings.is_causal:
      stream = causal_sequences.token_stream(training, self._pieces.sep_id)
      end = len(stream) - len(stream) % (self._settings.seq_length - 1)
      self._emit_stream(stream[:end], 'train', name)
      left_over = stream[end:]
    else:
      self._emit_documents(training, 'train', name)
    return ChunkResult(
        training.num_documents, len(training.ids),
        sentence_pairs.select_documents(encoded, held_out), left_over, bad_text)

  def process_gathered(self, name: ChunkName, pieces: list) -> tuple[int, int]:
    """Emits the rows of gathered text.

    Args:
      name: of the chunk, whose kind says what it is.
      pieces: `EncodedDocuments` held out, or left-over streams.

    Returns:
      Documents and tokens that are not counted yet.
    """
    if name.kind == corpus.LEFT_OVER:
      self._emit_stream(np.concatenate(pieces), 'train', name)
      return 0, 0
    documents = sentence_pairs.concatenate(pieces)
    if self._settings.is_causal:
      self._emit_stream(causal_sequences.token_stream(
          documents, self._pieces.sep_id), 'eval', name)
    else:
      self._emit_documents(documents, 'eval', name)
    return documents.num_documents, len(documents.ids)

  def _encode(self, documents):
    sentences = [s for document in documents for s in document]
    ids, row_splits = self._encoder.encode(sentences)
    document_splits = np.cumsum([0] + [len(d) for d in documents])
    # Half a pair, so that a long line can be followed by its own next part.
    return sentence_pairs.split_by_length(
        ids, row_splits, document_splits, max(1, self._settings.max_tokens // 2))

  def _emit_documents(self, documents: EncodedDocuments, split: str,
                      name: ChunkName) -> None:
    rng, pair_rng = name.generators(self._settings.seed)
    self._emit_rows(
        self._masked_rows(documents, pair_rng, rng), split, name, rng)

  def _emit_stream(self, stream: np.ndarray, split: str,
                   name: ChunkName) -> None:
    """Packs a causal stream, int32 [tokens], into rows, and emits those."""
    rng, _ = name.generators(self._settings.seed)
    rows = causal_sequences.make_causal_rows(
        stream, self._pieces.cls_id, self._dtype)
    self._emit_rows([rows], split, name, rng)

  def _emit_rows(self, parts: Iterable[np.ndarray], split: str,
                 name: ChunkName, rng: np.random.Generator) -> None:
    settings = self._settings
    num_shards = (
        settings.num_shards if split == 'train' else settings.num_eval_shards)
    num_rows = 0
    for rows in parts:
      rows['key'] = rng.integers(1 << 64, size=len(rows), dtype=np.uint64)
      rows['chunk'] = name.number(settings.seed)
      rows['row'] = np.arange(num_rows, num_rows + len(rows))
      num_rows += len(rows)
      for shard, part in rows_by_shard(rows, num_shards):
        self._emit(split, shard, part)

  def _masked_rows(self, documents: EncodedDocuments, pair_rng: random.Random,
                   rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Pairs and masks documents `dupe_factor` times."""
    settings = self._settings
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
