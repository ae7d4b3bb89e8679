"""Vocabularies: learned alike on every run, read, and refused."""

import hashlib
import random
import subprocess
import sys

import pytest

from official_ext.data import corpus
from official_ext.data import reader
from official_ext.data import vocabulary

_LEARN = '''
import hashlib, random
from official_ext.data import vocabulary
rng = random.Random(0)
words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz\\u00e9\\u4e2d\\u0301.-", k=rng.randint(1, 9))) for _ in range(600)]
text = [" ".join(rng.choices(words, k=12)) for _ in range(300)]
pieces = vocabulary.learn_vocabulary(text, 500, lower_case=False)
print(hashlib.sha256(vocabulary.vocabulary_bytes(pieces)).hexdigest())
'''


def test_learning_is_deterministic():
  """The trainer's hash tables are seeded anew in each process."""
  hashes = {subprocess.run(
      [sys.executable, '-c', _LEARN], check=True, capture_output=True,
      text=True).stdout for _ in range(4)}
  assert len(hashes) == 1


def test_special_tokens_first_then_characters_then_words():
  pieces = vocabulary.learn_vocabulary(
      ['low lower lowest', 'new newer newest, Wide'] * 9, 60)
  assert pieces[:5] == ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  assert len(pieces) == len(set(pieces)) == 60
  assert {'low', 'new', ',', '##e', 'l'} <= set(pieces)
  assert not {'##,', '##l', 'Wide', 'W'} & set(pieces)


def test_a_small_text_is_filled_up_with_unused_pieces():
  pieces = vocabulary.learn_vocabulary(['ab ab'], 20)
  assert len(pieces) == 20
  assert pieces[-1].startswith('[unused')


def test_too_small_a_vocabulary():
  with pytest.raises(ValueError, match='--vocab_size 8 is less than the .* single '
                     'characters .*; give at least'):
    vocabulary.learn_vocabulary(['abcdefghij'], 8)


def test_the_sample_is_bounded_and_takes_from_every_file(tmp_path):
  for name, letter in (('a', 'x'), ('b', 'y')):
    (tmp_path / f'{name}.txt').write_text(f'{letter * 99}\n' * 40000)
  files = corpus.lay_out(reader.expand_inputs([str(tmp_path / '*.txt')]))
  sample = vocabulary.sample_text(files, 200_000)
  assert 200_000 <= sum(map(len, sample)) < 200_200
  assert {s[0] for s in sample} == {'x', 'y'}


def test_round_trip(tmp_path):
  pieces = vocabulary.learn_vocabulary(['some text of mine'], 50)
  path = tmp_path / 'vocab.txt'
  path.write_bytes(vocabulary.vocabulary_bytes(pieces))
  assert vocabulary.read_vocabulary(str(path)) == pieces
  path.write_bytes('\r\n'.join(pieces).encode())  # Written on Windows.
  assert vocabulary.read_vocabulary(str(path)) == pieces


@pytest.mark.parametrize('content,message', [
    ('[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n', r'vocab.txt: the vocabulary lacks \[MASK\]'),
    ('the\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n',
     r"starts with 'the'; \[PAD\] must come first"),
    ('[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\na\n', "holds 'a' more than once"),
    ('', 'lacks'),
])
def test_a_vocabulary_that_cannot_be_used(tmp_path, content, message):
  path = tmp_path / 'vocab.txt'
  path.write_text(content)
  with pytest.raises(ValueError, match=message):
    vocabulary.read_vocabulary(str(path))


def test_a_vocabulary_that_is_not_there(tmp_path):
  with pytest.raises(OSError, match='no vocabulary file .*none.txt'):
    vocabulary.read_vocabulary(str(tmp_path / 'none.txt'))
  (tmp_path / 'latin.txt').write_bytes('é'.encode('latin-1'))
  with pytest.raises(ValueError, match='latin.txt: not UTF-8'):
    vocabulary.read_vocabulary(str(tmp_path / 'latin.txt'))
