"""A block of bytes, turned into documents of sentences."""

import hashlib
import json
import re
from collections.abc import Iterator

from official_ext.data.bad_text import BadText
from official_ext.data.reader import Block

# As in BERT's own format, a line is a sentence; only lines longer than this
# (paragraphs, whole documents on a line) are split.
LONG_LINE_CHARACTERS = 300

_SKIP = 'skip such lines with --on_bad_text=skip'
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


def parse_block(block: Block, bad_text: BadText | None = None
                ) -> list[list[str]]:
  """Decodes `block` into documents, each a list of its sentences.

  In a text file blank lines separate documents; in a JSON-lines file a record
  is a document, and blank lines within its text mean nothing.

  Args:
    block: some bytes of a file.
    bad_text: told of lines that cannot be used, which are left out; None
      raises.

  Raises:
    ValueError: naming file and line, if the bytes are not UTF-8, or a line of
      a JSON-lines file is not an object with a string `text`.
  """
  texts = _json_texts(block, bad_text) if block.kind == 'jsonl' else (
      _BLANK_LINE.split(_plain_text(block, bad_text)))
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


def _plain_text(block: Block, bad_text: BadText | None) -> str:
  try:
    text = _decode(block.data, block, block.first_line)
    if not block.repeated_lines:
      return text
    return '\n'.join(
        line for number, line in enumerate(text.split('\n'))
        if number not in block.repeated_lines)
  except ValueError:
    if bad_text is None:
      raise
  lines = []
  for number, line in enumerate(block.data.split(b'\n')):
    if number in block.repeated_lines:
      continue
    try:
      lines.append(_decode(line, block, block.first_line + number))
    except ValueError as error:
      bad_text.add_line(str(error))
  return '\n'.join(lines)


def _decode(data: bytes, block: Block, first_line: int) -> str:
  try:
    return data.decode('utf-8')
  except UnicodeDecodeError as error:
    line = first_line + data.count(b'\n', 0, error.start)
    raise ValueError(
        f'{block.path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}'
        f'); convert the file to UTF-8, or {_SKIP}') from error


def _json_texts(block: Block, bad_text: BadText | None) -> Iterator[str]:
  for number, line in enumerate(block.data.split(b'\n'), block.first_line):
    if line.strip():
      try:
        yield _json_text(_decode(line, block, number), block, number)
      except ValueError as error:
        if bad_text is None:
          raise
        bad_text.add_line(str(error))


def _json_text(line: str, block: Block, number: int) -> str:
  try:
    record = json.loads(line)
  except json.JSONDecodeError as error:
    raise ValueError(
        f'{block.path}, line {number}: not JSON ({error.msg} at column '
        f'{error.colno}); make each line one object, or {_SKIP}') from error
  except RecursionError as error:
    raise ValueError(
        f'{block.path}, line {number}: JSON that is nested too deeply; make each '
        f'line an object such as {{"text": "..."}}, or {_SKIP}') from error
  except ValueError as error:
    # Python refuses numbers of thousands of digits.
    raise ValueError(
        f'{block.path}, line {number}: JSON that cannot be read ({error}); make '
        f'each line an object such as {{"text": "..."}}, or {_SKIP}') from error
  text = record.get('text') if isinstance(record, dict) else None
  if not isinstance(text, str):
    raise ValueError(
        f'{block.path}, line {number}: no string field "text"; make each line '
        f'an object such as {{"text": "..."}}, or {_SKIP}')
  return text


def is_held_out(sentences: list[str], fraction: float) -> bool:
  """Whether a document belongs to the held-out split.

  The document's own text decides, whatever the seed and the order of the
  files, so two copies of a document never lie on both sides.
  """
  digest = hashlib.blake2b(
      '\n'.join(sentences).encode('utf-8', 'replace'), digest_size=8).digest()
  return int.from_bytes(digest, 'big') < fraction * 2**64
