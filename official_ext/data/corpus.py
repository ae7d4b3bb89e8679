"""How a corpus is cut up, whoever works on it.

Everything here is a function of the list of files and of their content, never
of the order in which workers finish; so every runner makes the same data.
"""

import contextlib
import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from official_ext.data.bad_text import BadText
from official_ext.data.reader import Block
from official_ext.data.reader import InputFile
from official_ext.data.reader import read_blocks
from official_ext.data.stored_file import open_stream

# Some text is gathered from many blocks before it is made into rows: as many
# blocks of a long file, or as many short files, as have about so much text.
GATHER_BLOCKS = 64
_GATHER_BYTES = 64 << 20
# What gzip makes of text, about.
_COMPRESSION = 4
# Gathered text is made into rows when there are so many tokens of it.
GATHERED_TOKENS = 1 << 18

# What a chunk holds: a block of the corpus, held-out documents gathered from
# many blocks, or the ends of causal streams gathered likewise.
BLOCK, HELD_OUT, LEFT_OVER = range(3)


@dataclasses.dataclass(frozen=True)
class CorpusFile:
  """One file's place in the corpus.

  Attributes:
    number: of the file, in the order of the corpus.
    file: the file itself.
    gathering: number of the gathering that the file belongs to.
    is_long: whether it has gatherings to itself, one every `GATHER_BLOCKS`.
    num_blocks: how many of its blocks are used; None means all.
  """

  number: int
  file: InputFile
  gathering: int
  is_long: bool
  num_blocks: int | None = None

  def gathering_of(self, block: int) -> tuple[int, int]:
    """Which gathering a block's text goes to; ascends through the corpus."""
    return self.gathering, block // GATHER_BLOCKS if self.is_long else 0


@dataclasses.dataclass(frozen=True)
class ChunkName:
  """Where the rows of a chunk come from; with the seed, all of their chance.

  Attributes:
    kind: BLOCK, HELD_OUT or LEFT_OVER.
    place: the number of the file and of the block; or of the gathering (two)
      and of the part of it.
  """

  kind: int
  place: tuple[int, ...]

  def generators(self, seed: int) -> tuple[np.random.Generator, random.Random]:
    """The chunk's sources of chance: one for arrays, one for the rest."""
    seeds = self._seeds(seed)[:4]
    return (np.random.Generator(np.random.PCG64(seeds)),
            random.Random(int.from_bytes(seeds.tobytes(), 'little')))

  def number(self, seed: int) -> np.uint64:
    """Tells this chunk's rows from those of others, whose keys are the same."""
    return self._seeds(seed)[4:].view(np.uint64)[0]

  def _seeds(self, seed):
    return np.random.SeedSequence(
        [seed, self.kind, *self.place]).generate_state(6, np.uint32)


def lay_out(files: Sequence[InputFile]) -> list[CorpusFile]:
  """Gives every file its place: short neighbours share a gathering."""
  laid_out, gathering, gathered_bytes = [], 0, 0
  for number, file in enumerate(files):
    text_bytes = file.num_bytes * (_COMPRESSION if file.compressed else 1)
    is_long = text_bytes >= _GATHER_BYTES
    if gathered_bytes and (
        is_long or gathered_bytes + text_bytes > _GATHER_BYTES):
      gathering, gathered_bytes = gathering + 1, 0
    laid_out.append(CorpusFile(number, file, gathering, is_long))
    gathered_bytes += text_bytes
    if is_long:
      gathering, gathered_bytes = gathering + 1, 0
  return laid_out


def limit(files: Sequence[CorpusFile], max_input_bytes: int,
          skips_bad_text: bool) -> list[CorpusFile]:
  """Lets only the head of the corpus be used.

  Reads as far as that; the files behind it keep no block.

  Args:
    files: the whole corpus.
    max_input_bytes: the block that reaches this many bytes of text is the last.
    skips_bad_text: whether the rest of a file that cannot be read is left out.
  """
  limited, text_bytes = [], 0
  for file in files:
    num_blocks = 0
    if text_bytes < max_input_bytes:
      for block in FileBlocks(file, skips_bad_text).read():
        num_blocks += 1
        text_bytes += len(block.data)
        if text_bytes >= max_input_bytes:
          break
    limited.append(dataclasses.replace(file, num_blocks=num_blocks))
  return limited


class FileBlocks:
  """The blocks of one file, read once, and what is known of it then.

  Args:
    file: the file.
    skips_bad_text: whether the rest of a file that cannot be read is left out.

  Attributes:
    bytes_read: stored bytes read so far.
    sha256: of all stored bytes, also of those behind the last block that is
      used; empty until all is read.
    bad_text: why the rest was left out, if it was.
  """

  def __init__(self, file: CorpusFile, skips_bad_text: bool):
    self._file = file
    self._skips_bad_text = skips_bad_text
    self.bytes_read = 0
    self.sha256 = ''
    self.bad_text = BadText()

  def read(self) -> Iterator[Block]:
    """Yields the blocks that are used.

    Raises:
      ValueError: if a JSON record is too long.
      OSError: if the file cannot be read or unzipped.
    """
    path = self._file.file.path
    try:
      with contextlib.closing(open_stream(path)) as stream:
        try:
          for block in itertools.islice(
              read_blocks(self._file.file, stream), self._file.num_blocks):
            self.bytes_read = stream.bytes_read
            yield block
        except (ValueError, OSError) as error:
          self._skip(error)
        while stream.read(1 << 20):
          pass
        self.bytes_read = stream.bytes_read
        self.sha256 = stream.sha256()
    except OSError as error:
      self._skip(error)

  def _skip(self, error: Exception) -> None:
    if not self._skips_bad_text:
      raise error
    reason = getattr(error, 'strerror', None)
    self.bad_text.add_file(
        f'{self._file.file.path}: {reason}' if reason else str(error))


class Gathering:
  """Pieces of text from many blocks, handed on in parts.

  A part ends with the gathering, or when it has `GATHERED_TOKENS` tokens. The
  pieces have to be added in the order of the corpus.

  Args:
    kind: HELD_OUT or LEFT_OVER.
  """

  def __init__(self, kind: int):
    self._kind = kind
    self._name = None
    self._part = self._tokens = 0
    self._pieces = []

  def add(self, name: tuple[int, int], piece: Any, num_tokens: int
          ) -> Iterator[tuple[ChunkName, list[Any]]]:
    """Takes a piece of the gathering `name`; yields what is complete now."""
    if name != self._name:
      yield from self.close()
      self._name, self._part = name, 0
    if num_tokens:
      self._pieces.append(piece)
      self._tokens += num_tokens
    if self._tokens >= GATHERED_TOKENS:
      yield self._take()

  def close(self) -> Iterator[tuple[ChunkName, list[Any]]]:
    """Yields what is left."""
    if self._pieces:
      yield self._take()

  def _take(self):
    name = ChunkName(self._kind, (*self._name, self._part))
    pieces, self._pieces = self._pieces, []
    self._part, self._tokens = self._part + 1, 0
    return name, pieces
