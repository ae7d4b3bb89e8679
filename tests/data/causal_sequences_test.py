"""Packed sequences against a reconstruction token by token."""

import hashlib
import os
import random

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from official_ext.data import build
from official_ext.data import corpus as corpus_lib
from official_ext.data import reader
from official_ext.data.causal_sequences import make_causal_rows
from official_ext.data.causal_sequences import token_stream
from official_ext.data.manifest import Manifest
from official_ext.data.records import row_dtype
from official_ext.data.sentence_pairs import EncodedDocuments
from official_ext.data.settings import PrepareSettings
from official_ext.data.tokenizer import build_tokenizer

CLS, SEP = 2, 3
WORDS = ['fa', 'dori', 'kemu', 'lanto', 'mivvel', 'nok', 'rus', 'tebap']


def _encoded(documents: list[list[int]]) -> EncodedDocuments:
  """Documents of one sentence each."""
  splits = np.cumsum([0] + [len(document) for document in documents])
  ids = np.array([i for document in documents for i in document], np.int32)
  return EncodedDocuments(ids, splits, np.arange(len(documents) + 1))


@hypothesis.given(
    lengths=st.lists(st.integers(1, 70), max_size=12),
    seq_length=st.integers(8, 40))
def test_the_sequences_give_back_the_documents(lengths, seq_length):
  numbers = iter(range(5, 10_000))
  documents = [[next(numbers) for _ in range(length)] for length in lengths]
  rows = make_causal_rows(
      token_stream(_encoded(documents), SEP), CLS,
      row_dtype(seq_length, 0, 10_000))
  stream = []
  for place, row in enumerate(rows):
    length = int(row['length'])
    assert row['ids'][0] == CLS
    assert 2 <= length <= seq_length
    assert length == seq_length or place == len(rows) - 1
    assert not row['ids'][length:].any()
    stream += row['ids'][1:length].tolist()
  assert stream == [i for document in documents for i in [*document, SEP]]


def _document(rng: random.Random) -> str:
  return '\n'.join(
      ' '.join(rng.choices(WORDS, k=rng.randint(1, 30))) + '.'
      for _ in range(rng.randint(1, 9)))


@pytest.fixture(scope='module')
def documents(tmp_path_factory) -> list[str]:
  rng = random.Random(11)
  return [_document(rng) for _ in range(300)]


@pytest.fixture(scope='module')
def corpus(documents, tmp_path_factory) -> str:
  """Three files, whose blocks `BLOCKS` lists."""
  folder = tmp_path_factory.mktemp('corpus')
  for number in range(3):
    part = documents[100 * number:100 * (number + 1)]
    (folder / f'{number}.txt').write_text('\n\n'.join(part) + '\n')
  return str(folder / '*.txt')


# A file of less than 1 MiB is two blocks: its last document has no end before
# the file's.
BLOCKS = [(0, 99), (99, 100), (100, 199), (199, 200), (200, 299), (299, 300)]

SETTINGS = PrepareSettings(
    objective='causal_lm', vocab_size=60, seq_length=32, num_shards=4,
    eval_fraction=0.1, seed=7)


@pytest.fixture(scope='module')
def data(corpus, tmp_path_factory) -> tuple[str, Manifest]:
  path = str(tmp_path_factory.mktemp('data') / 'set')
  return path, build.prepare(path, [corpus], SETTINGS, num_workers=1)


def _records(folder: str, split: str) -> list[dict[str, list[int]]]:
  import tensorflow as tf
  records = []
  for name in sorted(os.listdir(folder)):
    if name.startswith(split):
      for record in tf.data.TFRecordDataset(os.path.join(folder, name)):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        records.append({key: list(value.int64_list.value)
                        for key, value in features.items()})
  return records


def _is_held_out(document: str) -> bool:
  digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
  return int.from_bytes(digest, 'big') < 0.1 * 2**64


def _packed(stream: list[int]) -> tuple[list[tuple[int, ...]], list[int]]:
  """The full sequences of a stream, and the tokens that are left over."""
  sequences, current = [], [CLS]
  for token in stream:
    current.append(token)
    if len(current) == 32:
      sequences.append(tuple(current))
      current = [CLS]
  return sequences, current[1:]


def _padded(tokens: list[int]) -> list[tuple[int, ...]]:
  return [(CLS, *tokens, *[0] * (31 - len(tokens)))] if tokens else []


def test_the_records_are_the_whole_tokenised_corpus(data, documents):
  folder, manifest = data
  tokenizer = build_tokenizer(os.path.join(folder, 'vocab.txt'))
  lines = [document.split('\n') for document in documents]
  tokens = [
      [int(i) for line in tokenizer(document).to_list() for i in line]
      for document in lines]
  held_out = [_is_held_out(document) for document in documents]
  expected = {'train': [], 'eval': []}
  gathered = {'train': [], 'eval': []}
  for start, stop in BLOCKS:
    stream = []
    for i in range(start, stop):
      (gathered['eval'] if held_out[i] else stream).extend([*tokens[i], SEP])
    sequences, left_over = _packed(stream)
    expected['train'] += sequences
    gathered['train'] += left_over
  for split, stream in gathered.items():  # Over the blocks, and not padded.
    sequences, left_over = _packed(stream)
    expected[split] += sequences + _padded(left_over)
  for split, sequences in expected.items():
    records = _records(folder, split)
    assert sorted(tuple(r['input_word_ids']) for r in records) == sorted(sequences)
    for record in records:
      assert set(record) == {'input_word_ids', 'input_mask'}
      assert record['input_mask'] == [int(i != 0) for i in record['input_word_ids']]
    assert manifest.splits[split].examples == len(sequences)
    counted = [t for t, held in zip(tokens, held_out) if held == (split == 'eval')]
    assert manifest.splits[split].documents == len(counted)
    assert manifest.splits[split].tokens == sum(map(len, counted))


def test_records_are_shuffled(data, documents):
  folder, _ = data
  tokenizer = build_tokenizer(os.path.join(folder, 'vocab.txt'))
  first = tokenizer(documents[0].split('\n')).flat_values.numpy().tolist()
  records = [r['input_word_ids'] for r in _records(folder, 'train')]
  assert records[0][1:9] != first[:8]
  assert any(record[1:9] == first[:8] for record in records)


def _files(folder: str) -> dict[str, bytes]:
  contents = {}
  for name in sorted(os.listdir(folder)):
    with open(os.path.join(folder, name), 'rb') as file:
      contents[name] = file.read()
  return contents


@pytest.mark.parametrize('objective', ['masked_lm', 'causal_lm'])
def test_any_number_of_workers_writes_the_same_bytes(
    objective, corpus, tmp_path, monkeypatch):
  """Many small blocks, and gathered text that is made into rows midway."""
  monkeypatch.setattr(reader, 'BLOCK_BYTES', 2000)
  monkeypatch.setattr(corpus_lib, 'GATHERED_TOKENS', 150)
  settings = PrepareSettings(
      objective=objective, vocab_size=60, seq_length=32, num_shards=4,
      eval_fraction=0.1, seed=7)
  for num_workers in (1, 2, 3):
    build.prepare(str(tmp_path / str(num_workers)), [corpus], settings,
                  num_workers=num_workers)
  assert (_files(str(tmp_path / '1')) == _files(str(tmp_path / '2'))
          == _files(str(tmp_path / '3')))


def test_the_manifest_says_what_the_data_are_for(data, corpus):
  folder, manifest = data
  assert manifest.objective == 'causal_lm'
  assert manifest.max_predictions_per_seq == 0
  assert manifest.settings == {
      'eval_fraction': 0.1, 'num_shards': 4, 'max_input_bytes': None, 'on_bad_text': 'stop',
      'vocabulary': 'learned', 'remove_duplicates': False}
  assert Manifest.read(folder) == manifest
  said = []
  assert build.prepare(folder, [corpus], SETTINGS, say=said.append) == manifest
  assert said == [f'{folder} already holds this data set; nothing to do']


def test_objectives_do_not_mix_in_one_directory(data, corpus, tmp_path):
  masked = PrepareSettings(
      vocab_size=60, seq_length=32, num_shards=4, eval_fraction=0.1, seed=7)
  with pytest.raises(
      ValueError, match='holds another data set: objective is causal_lm there '
      'and masked_lm here;'):
    build.prepare(data[0], [corpus], masked)
  folder = str(tmp_path / 'masked')
  build.prepare(folder, [corpus], masked, num_workers=1)
  with pytest.raises(
      ValueError, match='objective is masked_lm there and causal_lm here;'):
    build.prepare(folder, [corpus], SETTINGS)
