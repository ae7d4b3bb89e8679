"""A block of bytes, turned into documents of sentences."""

import hashlib
import json
import re

from official_ext.data.reader import Block

# As in BERT's own format, a line is a sentence; only lines longer than this
# (paragraphs, whole documents on a line) are split.
LONG_LINE_CHARACTERS = 300

_BLANK_LINE = re.compile(r'\n\s*\n')
# . ! ? and closing quotes or brackets, then white space; a CJK full stop needs
# no white space. (Look-behinds would say the same four times slower.)
_SENTENCE_END = re.compile(
    r'[.!?]["\')\]\u2019\u201d]*\s+|[\u3002\uff01\uff1f]')


def split_sentences(line: str) -> list[str]:
  """The sentences of one line: itself, unless it is a long one."""
  if len(line) <= LONG_LINE_CHARACTERS:
    return [line]
  ends = [match.end() for match in _SENTENCE_END.finditer(line)]
  return [sentence for sentence in (
      line[start:end].rstrip() for start, end in zip([0] + ends, ends + [None]))
          if sentence]


def parse_block(block: Block) -> list[list[str]]:
  """Decodes `block` into documents, each a list of its sentences.

  In a text file blank lines separate documents; in a JSON-lines file a record
  is a document, and blank lines within its text mean nothing.

  Raises:
    ValueError: naming file and line, if the bytes are not UTF-8, or a line of
      a JSON-lines file is not an object with a string `text`.
  """
  texts = _json_texts(block) if block.kind == 'jsonl' else (
      _BLANK_LINE.split(_decode(block.data, block, block.first_line)))
  documents = []
  for text in texts:
    sentences = []
    for line in text.split('\n'):
      line = line.strip()
      if line:
        sentences.extend(split_sentences(line))
    if sentences:
      documents.append(sentences)
  return documents


def _decode(data: bytes, block: Block, first_line: int) -> str:
  try:
    return data.decode('utf-8')
  except UnicodeDecodeError as error:
    line = first_line + data.count(b'\n', 0, error.start)
    raise ValueError(
        f'{block.path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}'
        '); convert the file to UTF-8') from error


def _json_texts(block: Block):
  for number, line in enumerate(block.data.split(b'\n'), block.first_line):
    if not line.strip():
      continue
    try:
      record = json.loads(_decode(line, block, number))
    except json.JSONDecodeError as error:
      raise ValueError(
          f'{block.path}, line {number}: not JSON ({error.msg} at column '
          f'{error.colno}); each line must be one object') from error
    text = record.get('text') if isinstance(record, dict) else None
    if not isinstance(text, str):
      raise ValueError(
          f'{block.path}, line {number}: no string field "text"; each line '
          'must be an object such as {"text": "..."}')
    yield text


def is_held_out(sentences: list[str], fraction: float) -> bool:
  """Whether a document belongs to the held-out split.

  The document's own text decides, whatever the seed and the order of the
  files, so two copies of a document never lie on both sides.
  """
  digest = hashlib.blake2b(
      '\n'.join(sentences).encode('utf-8', 'replace'), digest_size=8).digest()
  return int.from_bytes(digest, 'big') < fraction * 2**64
