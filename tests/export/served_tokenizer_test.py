"""The tokenizer of the signatures against the one that made the data."""

import random

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest
import tensorflow as tf

from official_ext.data.tokenizer import build_tokenizer
from official_ext.data.vocabulary import SPECIAL_TOKENS
from official_ext.export.served_tokenizer import served_tokenizer
from official_ext.export.served_tokenizer import split_words

_CHARACTERS = [chr(point) for point in range(0x110000)
               if not 0xD800 <= point < 0xE000]
# Most code points are one of these, so that it shows which word they ended up in.
_PIECES = [*SPECIAL_TOKENS, 'the', 'a', '##a', 'b', '##b', 'c', 'd', 'e', '##e',
           *'.,:;!?()[]=<>`´-–—„“¿،。、中文字한글', *map('##{}'.format, '中한')]


@pytest.fixture(name='pair', params=[True, False], ids=['uncased', 'cased'],
                scope='module')
def _pair(request, tmp_path_factory):
  file = tmp_path_factory.mktemp('vocabulary') / 'vocab.txt'
  file.write_text('\n'.join(_PIECES) + '\n', encoding='utf-8')
  served, _ = served_tokenizer(str(file), lower_case=request.param)
  return served, build_tokenizer(_PIECES, lower_case=request.param)


@tf.function(reduce_retracing=True)
def _per_word(served, texts):
  words, starts = split_words(texts)
  return served(words).merge_dims(1, 2), words, starts


def _assert_alike(pair, texts):
  served, fast = pair
  texts = tf.constant(texts, tf.string, shape=[len(texts)])
  expected = fast(texts)
  pieces, words, starts = _per_word(served, texts)
  for got in (served(texts), pieces):
    differ = [row for row, (ours, theirs) in enumerate(zip(
        np.split(got.values, got.row_splits[1:-1]),
        np.split(expected.values, expected.row_splits[1:-1])))
              if not np.array_equal(ours, theirs)]
    assert not differ, [texts[row].numpy() for row in differ[:5]]
  given = texts.numpy()
  for row, word, start in zip(words.value_rowids().numpy(),
                              words.values.numpy(), starts.values.numpy()):
    assert given[row][start:].startswith(word)


def test_code_points(pair):
  random.seed(0)
  chosen = random.sample(_CHARACTERS, len(_CHARACTERS) // 1000)
  # All that differ between the two libraries, and their like.
  chosen += map(chr, [*range(0x100), *range(0x2000, 0x2070), 0x1680, 0x3000,
                      0x1B4E, 0x1B7F, 0x10D6E, 0x113D8, 0x16D6F, 0x1E5FF])
  _assert_alike(pair, [f'the a{c}b c {c} d' for c in chosen])


@pytest.mark.slow
def test_every_code_point(pair):
  for start in range(0, len(_CHARACTERS), 100_000):
    _assert_alike(pair, [f'the a{c}b c {c} d'
                         for c in _CHARACTERS[start:start + 100_000]])


@hypothesis.given(strategies.lists(strategies.one_of(
    strategies.binary(max_size=40),
    strategies.text(max_size=40).map(str.encode),
    strategies.text('abe\u0301é中한.= \u00ad\u200b', max_size=40).map(str.encode),
    # Words of more than 100 bytes are unknown.
    strategies.integers(90, 110).map(lambda n: b'a' * n),
    strategies.integers(30, 60).map(lambda n: 'é'.encode() * n)), max_size=20))
@hypothesis.settings(
    max_examples=15,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_bytes(pair, texts):
  _assert_alike(pair, texts)


def test_masks(pair):
  served, fast = pair
  texts = ['[MASK]', 'the [MASK][MASK] a', '[mask] b', '']
  assert (served.tokenize_with_masks(tf.constant(texts)).to_list()
          == fast.tokenize_with_masks(tf.constant(texts)).to_list()
          == [[4], [5, 4, 4, 6], fast(['[mask] b']).to_list()[0], []])
