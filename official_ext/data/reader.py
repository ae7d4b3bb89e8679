"""Input files cut into blocks of whole documents, without reading them whole.

The parent process only finds where documents end; decoding, splitting and
tokenising a block is a worker's job. A block is about `BLOCK_BYTES` long
whatever the size of the file, which is what bounds the memory.
"""

import dataclasses
import glob
import gzip
import os
import re
from typing import Iterator, Sequence
import zlib

from official_ext.data.stored_file import file_size
from official_ext.data.stored_file import HashingStream
from official_ext.data.stored_file import is_remote

BLOCK_BYTES = 1 << 20
# A document longer than this is cut, at a line's end where it can be.
MAX_DOCUMENT_BYTES = 4 << 20
# A JSON record has to be parsed whole.
MAX_JSON_RECORD_BYTES = 16 << 20

_SUFFIXES = {
    '.txt': ('txt', False),
    '.txt.gz': ('txt', True),
    '.jsonl': ('jsonl', False),
    '.jsonl.gz': ('jsonl', True),
}
_BLANK_LINE = re.compile(rb'\n[ \t\r\f\v]*\n')
_BYTE_ORDER_MARK = b'\xef\xbb\xbf'


@dataclasses.dataclass(frozen=True)
class InputFile:
  """One file of the corpus.

  Attributes:
    path: a local path, or a URL that `tf.io.gfile` can open.
    kind: 'txt' or 'jsonl'.
    compressed: whether it is gzipped.
    num_bytes: its size as stored.
  """

  path: str
  kind: str
  compressed: bool
  num_bytes: int


@dataclasses.dataclass(frozen=True)
class Block:
  """Some whole documents of one file.

  Attributes:
    path: the file.
    kind: 'txt' or 'jsonl'.
    first_line: number of the block's first line in the file, counted from 1.
    data: the bytes, not yet decoded.
    repeated_lines: numbers of lines, counted from 0 in `data`, that repeat
      earlier text and are left out.
  """

  path: str
  kind: str
  first_line: int
  data: bytes
  repeated_lines: frozenset[int] = frozenset()


def _glob(pattern: str) -> list[str]:
  if is_remote(pattern):
    import tensorflow as tf  # Seconds to import, and seldom needed here.
    return sorted(tf.io.gfile.glob(pattern))
  if os.path.exists(pattern):  # A name may hold brackets of its own.
    return [pattern]
  return sorted(glob.glob(pattern, recursive=True))


def expand_inputs(patterns: Sequence[str]) -> list[InputFile]:
  """Finds the files that `patterns` name, in order, each of them once.

  Args:
    patterns: globs; one string may hold several, with commas between.

  Raises:
    ValueError: if a pattern matches nothing, or a file's name does not end in
      one of the four suffixes.
  """
  files = {}
  for pattern in (p.strip() for text in patterns for p in text.split(',')):
    if not pattern:
      continue
    paths = _glob(pattern)
    if not paths:
      raise ValueError(f'--input {pattern!r} matches no file')
    for path in paths:
      if path in files:
        continue
      suffix = next((s for s in sorted(_SUFFIXES, key=len, reverse=True)
                     if path.endswith(s)), None)
      if suffix is None:
        raise ValueError(
            f'--input {path}: the name must end in one of '
            f'{", ".join(_SUFFIXES)}; rename or convert the file')
      if not is_remote(path) and os.path.isdir(path):
        raise ValueError(f'--input {path} is a directory; give {path}/*{suffix}')
      kind, compressed = _SUFFIXES[suffix]
      files[path] = InputFile(path, kind, compressed, file_size(path))
  return list(files.values())


def read_blocks(file: InputFile, stream: HashingStream) -> Iterator[Block]:
  """Yields the blocks of `file`, read from `stream`.

  Raises:
    ValueError: if a JSON record is too long.
    OSError: if the file cannot be read or is not gzip.
  """
  source = gzip.GzipFile(fileobj=stream) if file.compressed else stream
  buffer, line, start_of_file = b'', 1, True
  while True:
    try:
      data = source.read(BLOCK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
      raise OSError(
          f'{file.path}: cannot be unzipped ({error}); the file is cut short, '
          'damaged, or not gzip at all; copy it again, or use what comes before '
          'with --on_bad_text=skip') from error
    if start_of_file:
      data = data.removeprefix(_BYTE_ORDER_MARK)
      start_of_file = False
    end_of_file = not data
    buffer += data
    cut = len(buffer) if end_of_file else _last_boundary(buffer, file, line)
    if cut:
      yield Block(file.path, file.kind, line, buffer[:cut])
      line += buffer.count(b'\n', 0, cut)
      buffer = buffer[cut:]
    if end_of_file:
      return


def _last_boundary(buffer: bytes, file: InputFile, line: int) -> int:
  """Where the last whole document of `buffer` ends; 0 if nowhere."""
  if file.kind == 'jsonl':
    cut = buffer.rfind(b'\n') + 1
    if not cut and len(buffer) > MAX_JSON_RECORD_BYTES:
      raise ValueError(
          f'{file.path}, line {line}: a JSON record of more than '
          f'{MAX_JSON_RECORD_BYTES >> 20} MiB; split the document, or use what '
          'comes before with --on_bad_text=skip')
    return cut
  cut = 0
  for match in _BLANK_LINE.finditer(buffer):
    cut = match.end()
  if cut or len(buffer) < MAX_DOCUMENT_BYTES:
    return cut
  cut = buffer.rfind(b'\n') + 1 or buffer.rfind(b' ') + 1
  if not cut:  # One endless word: only mind not to split a character.
    cut = len(buffer) - 1
    while cut > len(buffer) - 4 and buffer[cut] & 0xC0 == 0x80:
      cut -= 1
  return cut
