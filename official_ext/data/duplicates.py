"""Leaves out paragraphs that a corpus repeats; the first of each stays."""

import dataclasses
import hashlib
import json
from typing import Any

from official_ext.data.reader import Block

# Shorter lines repeat without being copies: headings, answers, separators.
MIN_BYTES = 40
_DIGEST_BYTES = 8


class DuplicateFilter:
  """Finds repeated paragraphs, block after block in the order of the corpus.

  A paragraph is a line of a text file, or a line within the text of a JSON
  record. Two are the same if only white space differs. Each is remembered by a
  hash of 64 bits, which takes about 100 bytes of memory: 100 MB per million
  paragraphs.

  Attributes:
    num_paragraphs: paragraphs left out so far.
    num_bytes: their bytes.
  """

  def __init__(self):
    self._seen = set()
    self.num_paragraphs = self.num_bytes = 0

  def mark(self, block: Block) -> Block:
    """The block, with its repeated paragraphs marked or taken out."""
    if block.kind == 'jsonl':
      lines = [self._filter_record(line) for line in block.data.split(b'\n')]
      return dataclasses.replace(block, data=b'\n'.join(lines))
    return dataclasses.replace(block, repeated_lines=frozenset(
        number for number, line in enumerate(block.data.split(b'\n'))
        if self._is_repeated(line)))

  def describe(self) -> dict[str, int]:
    """For the manifest."""
    return {'paragraphs': self.num_paragraphs, 'bytes': self.num_bytes}

  def _is_repeated(self, line: bytes) -> bool:
    words = b' '.join(line.split())
    if len(words) < MIN_BYTES:
      return False
    digest = hashlib.blake2b(words, digest_size=_DIGEST_BYTES).digest()
    if digest not in self._seen:
      self._seen.add(digest)
      return False
    self.num_paragraphs += 1
    self.num_bytes += len(words)
    return True

  def _filter_record(self, line: bytes) -> bytes:
    text = _text_of(line)
    if text is None:
      return line  # The parser reports what is wrong with the record.
    lines = text.split('\n')
    kept = [each for each in lines
            if not self._is_repeated(each.encode('utf-8', 'surrogatepass'))]
    if len(kept) == len(lines):
      return line
    return json.dumps({'text': '\n'.join(kept)}).encode()


def _text_of(line: bytes) -> str | None:
  try:
    record: Any = json.loads(line)
  except (ValueError, RecursionError):
    return None
  text = record.get('text') if isinstance(record, dict) else None
  return text if isinstance(text, str) else None
