"""Masks that are drawn anew: BERT's rule, the same for whoever reads the batch."""

import numpy as np
import pytest

from official_ext.data import build
from official_ext.data.dynamic_masking import restore
from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.masked_share import MaskedShare
from official_ext.data.settings import PrepareSettings
from official_ext.data.vocabulary import read_vocabulary

LENGTH, PREDICTIONS, BATCH = 32, 6, 12
SHARE = MaskedShare(0.15, 0.15, 100)


def make_loader(path, **settings):
  rng = np.random.default_rng(0)
  text = '\n\n'.join(
      '\n'.join(' '.join(
          ''.join(rng.choice(list('abcdefgh'), size=rng.integers(1, 6)))
          for _ in range(10)) for _ in range(4)) for _ in range(150))
  path.mkdir(parents=True, exist_ok=True)
  (path / 'text.txt').write_text(text)
  manifest = build.prepare(
      str(path / 'data'), [str(path / 'text.txt')], PrepareSettings(
          vocab_size=60, seq_length=LENGTH, max_predictions_per_seq=PREDICTIONS,
          eval_fraction=0.1, num_shards=2, **settings), num_workers=1,
      say=lambda line: None)
  loader = PretrainLoader(str(path / 'data'), manifest, use_next_sentence=False)
  return loader, manifest, read_vocabulary(str(path / 'data/vocab.txt'))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  return make_loader(tmp_path_factory.mktemp('plain'))


def batches(loader, count, rows=BatchSlice(BATCH), **options):
  return [{name: np.asarray(value) for name, value in batch.items()}
          for batch in loader.training_batches(
              rows, **{'seed': 5, **options}).take(count)]


def joined(found):
  return {name: np.concatenate([batch[name] for batch in found])
          for name in found[0]}


def test_everything_but_the_masks_is_as_in_the_records(made):
  loader, *_ = made
  static = joined(batches(loader, 8))
  dynamic = joined(batches(loader, 8, masked_share=SHARE))
  np.testing.assert_array_equal(
      restore(static).numpy(), restore(dynamic).numpy())
  for name in ('input_mask', 'input_type_ids'):
    np.testing.assert_array_equal(static[name], dynamic[name])
  for name in static:
    assert static[name].dtype == dynamic[name].dtype
    assert static[name].shape == dynamic[name].shape
  assert (static['masked_lm_positions'] != dynamic['masked_lm_positions']).any()


@pytest.mark.parametrize('share', [0.1, 0.15, 0.2])
def test_the_rule_of_bert(made, share):
  loader, _, vocabulary = made
  found = joined(batches(loader, 60, masked_share=MaskedShare(share, share, 9)))
  words = restore(joined(batches(loader, 60))).numpy()
  special = [vocabulary.index(piece) for piece in ('[CLS]', '[SEP]', '[PAD]')]
  num_masked = num_kept = num_replaced = num_chosen = 0
  for row, original in enumerate(words):
    length = int(found['input_mask'][row].sum())
    is_used = found['masked_lm_weights'][row] > 0
    budget = min(max(1, int(np.rint(np.float32(length) * np.float32(share)))),
                 PREDICTIONS)
    text = [place for place in range(length) if original[place] not in special]
    assert is_used.sum() == min(budget, len(text))
    # The used slots come first, in ascending order, at text.
    assert not is_used[is_used.sum():].any()
    places = found['masked_lm_positions'][row][is_used]
    assert (np.diff(places) > 0).all() and set(places) <= set(text)
    assert not found['masked_lm_positions'][row][~is_used].any()
    np.testing.assert_array_equal(
        found['masked_lm_ids'][row][is_used], original[places])
    now = found['input_word_ids'][row]
    others = np.setdiff1d(np.arange(LENGTH), places)
    np.testing.assert_array_equal(now[others], original[others])
    num_chosen += len(places)
    is_mask = now[places] == vocabulary.index('[MASK]')
    num_masked += is_mask.sum()
    num_kept += (now[places] == original[places]).sum()
    num_replaced += (~is_mask & (now[places] != original[places])).sum()
    assert not np.isin(now[places], special).any()
  # Four standard deviations of a binomial; a random piece may be the same one.
  for count, expected in ((num_masked, 0.8), (num_kept + num_replaced, 0.2),
                          (num_kept, 0.1 + 0.1 / 55)):
    tolerance = 4 * np.sqrt(expected * (1 - expected) / num_chosen)
    assert count / num_chosen == pytest.approx(expected, abs=tolerance)


def test_every_text_token_is_as_likely(made):
  loader, *_ = made
  found = joined(batches(loader, 200, masked_share=SHARE))
  static = joined(batches(loader, 200))
  words, mask = restore(static).numpy(), static['input_mask'].astype(bool)
  is_text = mask & ~np.isin(words, words[:, 0].min())
  chosen = np.zeros(LENGTH)
  for places, weights in zip(
      found['masked_lm_positions'], found['masked_lm_weights']):
    chosen[places[weights > 0]] += 1
  full = mask.all(axis=1)
  assert full.sum() > 500
  share = chosen[1:10] / is_text[:, 1:10].sum(0)
  assert share.std() < 4 * np.sqrt(share.mean() / len(words))


def test_epochs_differ(made):
  loader, manifest, _ = made
  count = manifest.splits['train'].examples
  rows = BatchSlice(count)
  first, second = batches(loader, 2, rows, masked_share=SHARE)
  order = [np.lexsort(restore(batch).numpy().T[::-1]) for batch in (first, second)]
  assert (restore(first).numpy()[order[0]]
          == restore(second).numpy()[order[1]]).all()
  same = (first['masked_lm_positions'][order[0]]
          == second['masked_lm_positions'][order[1]]).all(axis=1)
  assert same.mean() < 0.1


def test_starting_later_gives_the_same_masks(made):
  loader, *_ = made
  share = MaskedShare(0.1, 0.18, 20)
  whole = batches(loader, 20, masked_share=share)
  for start in (1, 7, 13):
    resumed = batches(loader, 20 - start, start_step=start, masked_share=share)
    for one, other in zip(whole[start:], resumed):
      for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize('num_pipelines, num_replicas', [(1, 2), (2, 2), (2, 4)])
def test_workers_and_replicas_share_the_same_masks(
    made, num_pipelines, num_replicas):
  loader, *_ = made
  whole = batches(loader, 6, masked_share=SHARE)
  per_pipeline = num_replicas // num_pipelines
  parts = [batches(
      loader, 6 * per_pipeline, BatchSlice(
          BATCH, num_pipelines=num_pipelines, pipeline=pipeline,
          num_replicas=num_replicas), masked_share=SHARE)
           for pipeline in range(num_pipelines)]
  for step, batch in enumerate(whole):
    shares = joined([
        part[step * per_pipeline + replica]
        for part in parts for replica in range(per_pipeline)])
    for name in batch:
      np.testing.assert_array_equal(batch[name], shares[name])


def test_the_share_changes_during_the_run(made):
  loader, *_ = made
  found = batches(loader, 50, masked_share=MaskedShare(0.05, 0.18, 50))
  shares = [batch['masked_lm_weights'].sum() / batch['input_mask'].sum()
            for batch in found]
  expected = np.linspace(0.05, 0.18, 50)
  # Budgets are whole numbers of at least 1.
  np.testing.assert_allclose(shares, expected, atol=0.025)
  assert np.mean(shares[:5]) < 0.08 < 0.15 < np.mean(shares[-5:])


def test_whole_words_share_one_fate(tmp_path):
  loader, _, vocabulary = make_loader(tmp_path, whole_word_masking=True)
  found = joined(batches(loader, 30, masked_share=SHARE))
  words = restore(found).numpy()
  mask_id = vocabulary.index('[MASK]')
  num_long = 0
  for row, original in enumerate(words):
    length = int(found['input_mask'][row].sum())
    is_used = found['masked_lm_weights'][row] > 0
    budget = min(max(1, int(np.rint(np.float32(length) * np.float32(0.15)))),
                 PREDICTIONS)
    assert is_used.sum() <= budget
    chosen = set(found['masked_lm_positions'][row][is_used])
    start = 1
    sizes = []
    while start < length:
      end = start + 1
      if vocabulary[original[start]] in ('[SEP]', '[CLS]'):
        start = end
        continue
      while end < length and vocabulary[original[end]].startswith('##'):
        end += 1
      places = set(range(start, end))
      assert places <= chosen or not places & chosen
      if places <= chosen and len(places) > 1:
        num_long += 1
        masked = [found['input_word_ids'][row][place] == mask_id
                  for place in places]
        assert all(masked) or not any(masked)
      if not places & chosen:
        sizes.append(len(places))
      start = end
    # No word that still fits was left out.
    left = budget - is_used.sum()
    assert not sizes or min(sizes) > left
  assert num_long > 20


def test_held_out_batches_keep_their_masks(made):
  loader, *_ = made
  first, again = (
      [np.asarray(batch['masked_lm_positions'])
       for batch in loader.evaluation_batches(BatchSlice(4), 3)]
      for _ in range(2))
  np.testing.assert_array_equal(first, again)
