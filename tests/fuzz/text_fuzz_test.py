"""Any bytes are text, or a refusal that names file and line."""

import gzip
import io
import json
import random

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from official_ext.data import sentence_pairs
from official_ext.data.documents import parse_block
from official_ext.data.encoder import Encoder
from official_ext.data.reader import InputFile
from official_ext.data.reader import read_blocks
from official_ext.data.vocabulary import learn_vocabulary
from official_ext.data.vocabulary import read_vocabulary
from official_ext.data.vocabulary import SPECIAL_TOKENS
from official_ext.data.vocabulary import vocabulary_bytes
from tests.fuzz.cases import check_refusal
from tests.fuzz.cases import counted

_PIECES = st.sampled_from([
    b'word', b'Two words.', b'\n', b'\n\n', b'\r\n', b' ', b'\t', b'\xff', b'\x00',
    b'\xc3\xa9', b'\xc3', b'\xef\xbb\xbf', b'\xed\xa0\x80', b'\xf0\x9f\x98\x80',
    b'\xe2\x80\xa8', b'{"text": "a b"}', b'{"text": 1}', b'{"text": "\\ud800"}',
    b'[1]', b'{', b'}', b'"', b'[' * 2000, b'9' * 5000, b'x' * 400, b'\x1c', b'\x85'])
_BYTES = st.one_of(st.lists(_PIECES, max_size=12).map(b''.join),
                   st.binary(max_size=80))
_TEXTS = st.lists(st.one_of(
    st.text(max_size=20), st.sampled_from([
        '[MASK] [CLS]', 'cafe\u0301', '\u200d\U0001f468', 'ﬁ', '\ud800', '\0',
        'ABC def', '.' * 50, 'x' * 300])), max_size=6)


@hypothesis.given(_BYTES, st.sampled_from(['txt', 'jsonl']), st.booleans())
@hypothesis.example(b'9' * 5000, 'jsonl', False)
@hypothesis.example(b'[' * 100_000, 'jsonl', False)
@counted
def test_files(data, kind, is_compressed):
  stored = gzip.compress(data, mtime=0) if is_compressed else data
  path = f'some/file.{kind}'
  blocks = list(read_blocks(
      InputFile(path, kind, is_compressed, len(stored)), io.BytesIO(stored)))
  assert b''.join(block.data for block in blocks) == data.removeprefix(
      b'\xef\xbb\xbf')
  for block in blocks:
    try:
      documents = parse_block(block)
    except ValueError as error:
      check_refusal(error, [f'{path}, line '])
      line = int(str(error).split(', line ')[1].split(':')[0])
      assert 1 <= line <= data.count(b'\n') + 1
      continue
    for document in documents:
      assert document and all(
          sentence and sentence.strip() == sentence and '\n' not in sentence
          for sentence in document)


@hypothesis.given(st.binary(max_size=60), st.integers(0, 60))
@counted
def test_damaged_compressed_files(noise, place):
  stored = gzip.compress(b'Some text.\n\nAnd more.\n' * 3, mtime=0)
  stored = stored[:place] + noise + stored[place + len(noise):]
  try:
    list(read_blocks(
        InputFile('x.txt.gz', 'txt', True, len(stored)), io.BytesIO(stored)))
  except OSError as error:
    assert str(error).startswith('x.txt.gz: cannot be unzipped (')


_VOCABULARY = [*SPECIAL_TOKENS, *'abcdefgh', *(f'##{c}' for c in 'abcdefgh'), '.']


@pytest.fixture(name='encoder', scope='module')
def fixture_encoder():
  return Encoder(_VOCABULARY)


@hypothesis.given(_TEXTS)
@counted
def test_tokenising(encoder, texts):
  ids, row_splits = encoder.encode(texts)
  assert len(row_splits) == len(texts) + 1
  assert row_splits[0] == 0 and row_splits[-1] == len(ids)
  assert (np.diff(row_splits) >= 0).all()
  # Text never yields a special token, but for what it cannot spell.
  assert np.isin(ids, [1, *range(len(SPECIAL_TOKENS), len(_VOCABULARY))]).all()
  for i, text in enumerate(texts):
    alone, _ = encoder.encode([text])
    np.testing.assert_array_equal(alone, ids[row_splits[i]:row_splits[i + 1]])


@hypothesis.given(_TEXTS, st.integers(-1, 300), st.booleans())
@counted
def test_learning_a_vocabulary(texts, vocab_size, lower_case):
  try:
    vocabulary = learn_vocabulary(texts, vocab_size, lower_case=lower_case)
  except ValueError as error:
    check_refusal(error, ['--vocab_size'])
    return
  assert len(vocabulary) == len(set(vocabulary)) == vocab_size
  assert tuple(vocabulary[:5]) == SPECIAL_TOKENS


@pytest.fixture(name='folder', scope='module')
def fixture_folder(tmp_path_factory):
  return tmp_path_factory.mktemp('vocabulary')


@hypothesis.given(st.lists(st.one_of(
    st.sampled_from([token.encode() for token in SPECIAL_TOKENS]),
    st.binary(max_size=4)), max_size=9), st.booleans())
@counted
def test_vocabulary_files(folder, lines, is_sound):
  path = folder / 'vocab.txt'
  if is_sound:
    lines = [token.encode() for token in SPECIAL_TOKENS] + lines
  path.write_bytes(b'\n'.join(lines))
  try:
    vocabulary = read_vocabulary(str(path))
  except ValueError as error:
    check_refusal(error, [str(path)])
    return
  assert set(SPECIAL_TOKENS) <= set(vocabulary)
  assert vocabulary_bytes(vocabulary).decode().split('\n')[:-1] == vocabulary


@hypothesis.given(
    st.lists(st.lists(st.integers(0, 12), max_size=6), min_size=1, max_size=6),
    st.integers(2, 20), st.floats(0, 1), st.integers(0, 2**31))
@counted
def test_sentence_pairs(documents, max_tokens, short_probability, seed):
  lengths = [length for document in documents for length in document]
  encoded, is_kept = sentence_pairs.split_by_length(
      np.arange(sum(lengths), dtype=np.int32),
      np.cumsum([0, *lengths]),
      np.cumsum([0, *map(len, documents)]), max_tokens)
  assert list(is_kept) == [sum(document) > 0 for document in documents]
  pairs = sentence_pairs.make_pairs(
      encoded, max_tokens, short_probability, random.Random(seed))
  cut = sentence_pairs.truncate(pairs, max_tokens, np.random.default_rng(seed))
  assert (cut.a_length + cut.b_length <= max_tokens).all()
  assert (cut.a_length >= 1).all() and (cut.b_length >= 0).all()
  for (a, a_end, b, b_end, _), start, length, b_start, b_length in zip(
      pairs, cut.a_start, cut.a_length, cut.b_start, cut.b_length):
    assert a <= start and start + length <= a_end
    assert b <= b_start and b_start + b_length <= b_end
  if not any(is_kept):
    assert not pairs


@hypothesis.given(st.lists(st.dictionaries(
    st.sampled_from(['text', 'title', 'é']), st.one_of(
        st.text(max_size=30), st.integers(), st.none()), max_size=2), max_size=5))
@counted
def test_json_records(records):
  data = b''.join(json.dumps(record).encode() + b'\n' for record in records)
  block, *rest = read_blocks(InputFile('r.jsonl', 'jsonl', False, len(data)),
                             io.BytesIO(data)) if data else [None]
  assert not rest
  if block is None:
    return
  sound = all(isinstance(record.get('text'), str) for record in records)
  try:
    documents = parse_block(block)
  except ValueError as error:
    assert not sound
    check_refusal(error, ['r.jsonl, line '])
  else:
    assert sound
    assert len(documents) <= len(records)
