"""Serving and preparation tokenise alike; special tokens stay special."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest
import tensorflow as tf

from official_ext.data import encoder
from official_ext.data import tokenizer as tokenizer_lib
from official_ext.data import vocabulary as vocabulary_lib

_TEXT = [
    'The quick brown fox jumps over the lazy dog, again and again.',
    'Café naïve déjà-vu Ångström résumé; Straße, İstanbul, ﬁne ﬂour.',
    '東京は日本の首都です。中文也可以。한국어 문장 하나.',
    'Привет, мир! Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया',
    'Emoji: 😀 👩‍👩‍👧 🇫🇷 ✊🏽 and signs © ® ™ € £ [MASK] (mask) 1,234.5e-6',
]

_HARD = [
    '', ' ', '\t\r\n', '\x00', 'a\x00b', '\ufeff', '\ufffd', 'e\u0301', '\u0301',
    'a\u0300\u0301\u0302b', '\u200b', '\u200d', '\xa0', '\xad', '\u2028', '\x85',
    '\x7f', '\x1b[0m', '[MASK]', '[mask]', '[CLS] [SEP] [PAD] [UNK]', '##ing',
    'x' * 101, 'x' * 1000, '👩‍👩‍👧‍👦', '🏳️‍🌈', 'ﬃ', 'İ', 'ß', 'ǅ', '한', '각', '𠀀', '\U0010ffff',
    'a' + '\u0345' * 30, '１２３', '…', '“quoted”', "don't", 'e-mail@example.org']


@pytest.fixture(scope='module')
def vocabulary() -> list[str]:
  return vocabulary_lib.learn_vocabulary(_TEXT * 3, 400)


@pytest.fixture(scope='module', params=[True, False], ids=['lower', 'cased'])
def both(request, vocabulary, tmp_path_factory):
  """An encoder, and the same tokenizer loaded from a SavedModel."""
  path = str(tmp_path_factory.mktemp('tokenizer'))
  module = tokenizer_lib.build_tokenizer(vocabulary, lower_case=request.param)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
  def tokenize(texts):
    tokens = module(texts)
    return {'ids': tokens.values, 'row_splits': tokens.row_splits}

  tf.saved_model.save(module, path, signatures=tokenize)
  signature = tf.saved_model.load(path).signatures['serving_default']
  return encoder.Encoder(vocabulary, lower_case=request.param), signature


def _assert_alike(both, texts):
  encode, served = both
  ids, row_splits = encode.encode(texts)
  served = served(tf.constant(
      [text.encode('utf-8') for text in texts], tf.string, [len(texts)]))
  np.testing.assert_array_equal(served['ids'], ids)
  np.testing.assert_array_equal(served['row_splits'], row_splits)
  # Alone or among others, a text has the same pieces.
  for i, text in enumerate(texts[:3]):
    np.testing.assert_array_equal(
        encode.encode([text])[0], ids[row_splits[i]:row_splits[i + 1]])


def test_hard_strings(both):
  _assert_alike(both, _HARD)
  _assert_alike(both, _TEXT)
  _assert_alike(both, [])


@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(texts=st.lists(st.one_of(
    st.text(max_size=30),
    st.text(alphabet=st.characters(categories=['Mn', 'Lu', 'So', 'Cc', 'Lo'])),
    st.lists(st.sampled_from(_HARD + _TEXT[0].split()), max_size=6).map(' '.join),
    st.lists(st.sampled_from(_HARD), max_size=4).map(''.join)), max_size=6))
def test_any_strings(both, texts):
  _assert_alike(both, texts)


def test_ids_are_what_the_vocabulary_says(vocabulary):
  tokenize = tokenizer_lib.build_tokenizer(vocabulary)
  index = {piece: i for i, piece in enumerate(vocabulary)}
  tokens = tokenize(tf.constant(['The DÓG, xyz\u4e9c']))
  assert tokens.dtype == tf.int32
  pieces = [vocabulary[i] for i in tokens[0].numpy()]
  assert pieces[0] == 'the' and ',' in pieces and pieces[-1] == '[UNK]'
  assert ''.join(pieces[1:pieces.index(',')]).replace('##', '') == 'dog'
  assert (tokenize.pad_id, tokenize.unk_id, tokenize.cls_id, tokenize.sep_id,
          tokenize.mask_id) == tuple(index[t] for t in (
              '[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')) == (0, 1, 2, 3, 4)


@pytest.mark.parametrize('lower_case', [True, False])
def test_text_never_holds_a_special_token(vocabulary, lower_case):
  encode = encoder.Encoder(vocabulary, lower_case=lower_case)
  ids, _ = encode.encode(['[MASK] [CLS] [SEP] [PAD]', 'a [MASK]b', '[MASK]'])
  assert not set(ids.tolist()) & {0, 2, 3, 4}


def test_masks_come_in_by_their_own_door(vocabulary):
  tokenize = tokenizer_lib.build_tokenizer(vocabulary)
  texts = ['the [MASK] fox', '[MASK]', 'no mask', '', '[MASK][MASK] dog [MASK]',
           'the[MASK]']
  whole = tf.function(tokenize.tokenize_with_masks)(tf.constant(texts)).to_list()

  def ids(text):
    return tokenize(tf.constant([text]))[0].numpy().tolist()

  assert whole == [
      ids('the') + [4] + ids('fox'), [4], ids('no mask'), [],
      [4, 4] + ids('dog') + [4], ids('the') + [4]]
  assert tokenize.tokenize_with_masks(
      tf.zeros([0], tf.string)).to_list() == []


def test_lone_surrogates_are_replaced(vocabulary):
  encode = encoder.Encoder(vocabulary)
  ids, row_splits = encode.encode(['a\ud800b', 'a?b'])
  first, second = ids[:row_splits[1]], ids[row_splits[1]:]
  np.testing.assert_array_equal(first, second)
