"""Texts become the inputs that Model Garden's own converter makes of them."""

import random

import numpy as np
from official.nlp.data import classifier_data_lib
import pytest
import tensorflow as tf

from official_ext.data.tokenizer import build_tokenizer
from official_ext.downstream.text_features import pack_texts
from official_ext.downstream.text_features import padded_inputs
from tests.downstream import samples


class Words:
  """The tokenizer that Model Garden's converter asks for; words are pieces."""

  def tokenize(self, text):
    return text.split()

  def convert_tokens_to_ids(self, tokens):
    return [samples.VOCABULARY.index(token) for token in tokens]


@pytest.mark.parametrize('is_pair', [False, True])
def test_they_are_those_of_classifier_data_lib(is_pair):
  rng = random.Random(0)
  words = samples.WORDS[:10]
  tokenizer = build_tokenizer(samples.VOCABULARY)
  for seq_length in (8, 9, 16):
    texts, second = (
        [' '.join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(60)]
        for _ in range(2))
    packed = pack_texts(tokenizer, tf.constant(texts),
                        tf.constant(second) if is_pair else None, seq_length)
    inputs = padded_inputs(*packed, seq_length)
    for row in range(len(texts)):
      expected = classifier_data_lib.convert_single_example(
          10, classifier_data_lib.InputExample(
              '', texts[row], second[row] if is_pair else None, label='0'),
          ['0'], seq_length, Words())
      for name, values in (('input_word_ids', expected.input_ids),
                           ('input_mask', expected.input_mask),
                           ('input_type_ids', expected.segment_ids)):
        np.testing.assert_array_equal(inputs[name][row], values)


def test_empty_texts_and_special_tokens_in_texts():
  tokenizer = build_tokenizer(samples.VOCABULARY)
  words, types = pack_texts(
      tokenizer, tf.constant(['', 'good']), tf.constant(['[SEP]', '']), 16)
  unknown = tokenizer.unk_id
  # "[", "sep" and "]" are no pieces here, and no separator either.
  assert words.to_list() == [[2, 3, unknown, unknown, unknown, 3], [2, 9, 3, 3]]
  assert types.to_list() == [[0, 0, 1, 1, 1, 1], [0, 0, 0, 1]]


def test_it_is_traced_with_any_number_of_texts():
  tokenizer = build_tokenizer(samples.VOCABULARY)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
  def serve(texts, second):
    return padded_inputs(*pack_texts(tokenizer, texts, second, 16), 16)

  for count in (0, 1, 3):
    texts = tf.constant(['good'] * count, tf.string, [count])
    assert serve(texts, texts)['input_word_ids'].shape == (count, 16)
