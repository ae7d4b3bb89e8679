"""The figure that a model must beat, counted by hand."""

import numpy as np

from official_ext.training.evaluation import most_frequent_token_accuracy


def test_of_masked_tokens():
  batches = [
      {'masked_lm_ids': np.array([[7, 8, 0], [7, 9, 9]]),
       'masked_lm_weights': np.array([[1., 1., 0.], [1., 1., 0.]])},
      {'masked_lm_ids': np.array([[8, 7, 0]]),
       'masked_lm_weights': np.array([[1., 1., 0.]])}]
  assert most_frequent_token_accuracy(batches) == 3 / 6  # 7 of 7 8 7 9 8 7


def test_of_causal_sequences():
  batches = [
      # The first tokens are no labels, and neither is padding.
      {'input_word_ids': np.array([[2, 5, 6, 5], [2, 6, 3, 0]]),
       'input_mask': np.array([[1, 1, 1, 1], [1, 1, 1, 0]])},
      {'input_word_ids': np.array([[2, 0, 0, 0], [2, 6, 6, 3]]),
       'input_mask': np.array([[1, 0, 0, 0], [1, 1, 1, 1]])}]
  assert most_frequent_token_accuracy(batches) == 4 / 8  # 6 of 5 6 5 6 3 6 6 3


def test_of_nothing():
  assert most_frequent_token_accuracy([]) == 0.0
