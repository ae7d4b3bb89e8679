"""Pairs and masks: their statistics, counted from the rows."""

import random

import numpy as np
import pytest

from official_ext.data import masking
from official_ext.data import sentence_pairs
from official_ext.data.records import row_dtype
from official_ext.data.vocabulary import SPECIAL_TOKENS

VOCABULARY = [*SPECIAL_TOKENS, '[unused0]', *(f'w{i}' for i in range(600)),
              *(f'##s{i}' for i in range(394))]
PIECES = masking.PieceTable.from_vocabulary(VOCABULARY)


def _documents(seed=0, num_documents=300) -> sentence_pairs.EncodedDocuments:
  """Random pieces; every sentence begins with a whole word."""
  rng = np.random.default_rng(seed)
  sentences_each = rng.integers(1, 20, num_documents)
  lengths = rng.integers(1, 40, sentences_each.sum())
  splits = np.concatenate([[0], np.cumsum(lengths)])
  ids = rng.integers(6, 1000, splits[-1]).astype(np.int32)
  ids[splits[:-1]] = rng.integers(6, 606, len(lengths))
  return sentence_pairs.EncodedDocuments(
      ids, splits, np.concatenate([[0], np.cumsum(sentences_each)]))


def _rows(documents, seq_length=64, max_predictions=12, whole_word=False, seed=1,
          probability=0.15, short=0.1):
  pairs = sentence_pairs.make_pairs(
      documents, seq_length - 3, short, random.Random(seed))
  rng = np.random.default_rng(seed)
  truncated = sentence_pairs.truncate(pairs, seq_length - 3, rng)
  rows = masking.make_rows(
      documents.ids, truncated, PIECES,
      row_dtype(seq_length, max_predictions, 1000),
      masked_lm_probability=probability, whole_word_masking=whole_word, rng=rng)
  return pairs, truncated, rows


def _original(row) -> list[int]:
  ids = row['ids'].astype(int).tolist()
  for k in range(row['num_predictions']):
    ids[row['positions'][k]] = int(row['labels'][k])
  return ids


@pytest.mark.parametrize('whole_word', [False, True])
def test_labels_restore_the_text(whole_word):
  documents = _documents()
  _, pairs, rows = _rows(documents, whole_word=whole_word)
  for i in range(0, len(rows), 7):
    a = documents.ids[pairs.a_start[i]:pairs.a_start[i] + pairs.a_length[i]]
    b = documents.ids[pairs.b_start[i]:pairs.b_start[i] + pairs.b_length[i]]
    text = [2, *a, 3, *b, 3]
    assert _original(rows[i]) == text + [0] * (64 - len(text))
    assert rows[i]['length'] == len(text)
    assert rows[i]['b_start'] == len(a) + 2


@pytest.mark.parametrize('whole_word', [False, True])
def test_eighty_ten_ten(whole_word):
  _, _, rows = _rows(_documents(num_documents=1500), whole_word=whole_word)
  masked = same = other = 0
  for row in rows:
    for k in range(row['num_predictions']):
      now = row['ids'][row['positions'][k]]
      if now == PIECES.mask_id:
        masked += 1
      elif now == row['labels'][k]:
        same += 1
      else:
        other += 1
        assert now >= 6  # Never a special or an unused piece.
  total = masked + same + other
  assert total > 10000
  # Three standard deviations of a share at this size are about 0.013.
  assert masked / total == pytest.approx(0.8, abs=0.015)
  assert same / total == pytest.approx(0.1, abs=0.015)
  assert other / total == pytest.approx(0.1, abs=0.015)


def test_fifteen_percent_of_the_tokens():
  _, _, rows = _rows(_documents())
  lengths = rows['length'].astype(float)
  np.testing.assert_array_equal(
      rows['num_predictions'],
      np.clip(np.rint(lengths * 0.15), 1, 12).astype(int))
  assert rows['num_predictions'].sum() / lengths.sum() == pytest.approx(
      0.15, abs=0.01)


def test_every_place_is_as_likely():
  _, _, rows = _rows(_documents(num_documents=2000), short=0.0)
  full = rows[rows['length'] == 64]
  counts = np.bincount(full['positions'][
      np.arange(12) < full['num_predictions'][:, None]], minlength=64)
  assert counts[0] == counts[63] == 0
  # The [SEP] in the middle is where the first part ends, often half-way.
  is_text = len(full) - np.bincount(full['b_start'] - 1, minlength=64)[1:63]
  share = counts[1:63] / is_text
  assert share == pytest.approx(np.full(62, 10 / 61), abs=0.02)


def test_whole_words_share_one_fate():
  _, _, rows = _rows(_documents(num_documents=800), whole_word=True)
  predicted_words = multi_piece = 0
  for row in rows:
    original = _original(row)
    chosen = set(row['positions'][:row['num_predictions']].tolist())
    words = []
    for place in range(int(row['length'])):
      if original[place] in (2, 3):
        words.append([])
      elif PIECES.continues_word[original[place]] and words[-1]:
        words[-1].append(place)
      else:
        words.append([place])
    for word in words:
      inside = chosen & set(word)
      assert not inside or inside == set(word)
      if inside:
        predicted_words += 1
        multi_piece += len(word) > 1
        masks = {row['ids'][p] == PIECES.mask_id for p in word}
        assert len(masks) == 1
    assert len(chosen) <= min(12, max(1, round(0.15 * float(row['length']))))
  assert multi_piece > 0.2 * predicted_words > 100


def test_half_of_the_pairs_are_random():
  documents = _documents(num_documents=2000)
  pairs, _, rows = _rows(documents, short=0.0)
  # A pair of one sentence has no next one: it is always random, as in BERT.
  bounds = documents.sentence_splits[documents.document_splits]
  splittable = [p for p in pairs if not p[4] or p[1] != bounds[
      np.searchsorted(bounds, p[0], 'right')]]
  assert np.mean([p[4] for p in splittable]) == pytest.approx(0.5, abs=0.06)
  for a_start, a_end, b_start, b_end, is_random in pairs:
    document = np.searchsorted(bounds, a_start, 'right')
    assert document == np.searchsorted(bounds, a_end - 1, 'right')
    same = document == np.searchsorted(bounds, b_start, 'right')
    assert same != is_random
    assert is_random or b_start == a_end
    assert a_end > a_start and b_end > b_start
  assert rows['is_random_next'].tolist() == [int(p[4]) for p in pairs]


def test_all_text_is_used():
  documents = _documents(num_documents=50)
  pairs, _, _ = _rows(documents)
  used = np.zeros(len(documents.ids), bool)
  for a_start, a_end, b_start, b_end, _ in pairs:
    used[a_start:a_end] = used[b_start:b_end] = True
  assert used.all()


def test_a_single_document_pairs_with_itself():
  documents = _documents(num_documents=1)
  pairs, _, rows = _rows(documents)
  assert len(rows) and any(p[4] for p in pairs)


@pytest.mark.parametrize('a,b', [(100, 3), (3, 100), (50, 50), (30, 31), (5, 6)])
def test_truncation_is_that_of_one_token_at_a_time(a, b):
  truncated = sentence_pairs.truncate(
      [(0, a, 1000, 1000 + b, False)] * 2000, 40, np.random.default_rng(0))
  length_a, length_b, cut_a = a, b, 0
  while length_a + length_b > 40:
    if length_a > length_b:
      length_a, cut_a = length_a - 1, cut_a + 1
    else:
      length_b -= 1
  assert set(truncated.a_length.tolist()) == {length_a}
  assert set(truncated.b_length.tolist()) == {length_b}
  assert (truncated.a_start + length_a <= a).all()
  assert truncated.a_start.mean() == pytest.approx(cut_a / 2, abs=0.3)


def test_long_sentences_are_cut_and_empty_ones_dropped():
  encoded, kept = sentence_pairs.split_by_length(
      np.arange(12), np.array([0, 7, 7, 9, 9, 12]), np.array([0, 2, 4, 4, 5]), 3)
  assert encoded.sentence_splits.tolist() == [0, 3, 6, 7, 9, 12]
  assert encoded.document_splits.tolist() == [0, 3, 4, 5]
  assert kept.tolist() == [True, True, False, True]


def test_selecting_and_joining_documents():
  documents = _documents(num_documents=9)
  chosen = np.arange(9) % 2 == 0
  even = sentence_pairs.select_documents(documents, chosen)
  assert even.num_documents == 5
  bounds = documents.sentence_splits[documents.document_splits]
  expected = [documents.ids[bounds[i]:bounds[i + 1]] for i in range(0, 9, 2)]
  np.testing.assert_array_equal(even.ids, np.concatenate(expected))
  both = sentence_pairs.concatenate([even, documents])
  np.testing.assert_array_equal(both.ids, np.concatenate([even.ids, documents.ids]))
  assert both.num_documents == 14
  np.testing.assert_array_equal(
      np.diff(both.sentence_splits), np.concatenate(
          [np.diff(even.sentence_splits), np.diff(documents.sentence_splits)]))
