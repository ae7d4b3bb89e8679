"""Repeated paragraphs are left out, wherever they are repeated."""

import json

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data import build
from official_ext.data.documents import parse_block
from official_ext.data.duplicates import DuplicateFilter
from official_ext.data.duplicates import MIN_BYTES
from official_ext.data.reader import Block
from official_ext.data.settings import PrepareSettings

LONG = 'this paragraph is long enough to be a copy of another one'
OTHER = 'and this is another paragraph, of which there is a single one'
SHORT = 'a short line'


def block_of(text, kind='txt', first_line=1):
  return Block('file', kind, first_line, text.encode())


def test_first_occurrence_stays_over_blocks():
  duplicates = DuplicateFilter()
  first = duplicates.mark(block_of(f'{LONG}\n{SHORT}\n\n{OTHER}\n'))
  second = duplicates.mark(block_of(f'{SHORT}\n  {LONG.replace(" ", "  ")}\n'))
  assert parse_block(first) == [[LONG, SHORT], [OTHER]]
  # White space does not tell paragraphs apart, and short lines may repeat.
  assert parse_block(second) == [[SHORT]]
  assert len(SHORT) < MIN_BYTES <= len(LONG)
  assert duplicates.describe() == {'paragraphs': 1, 'bytes': len(LONG)}


def test_a_repeated_line_does_not_part_a_document():
  duplicates = DuplicateFilter()
  duplicates.mark(block_of(f'{LONG}\n'))
  marked = duplicates.mark(block_of(f'{SHORT}\n{LONG}\n{OTHER}\n'))
  assert parse_block(marked) == [[SHORT, OTHER]]


def test_json_records_lose_lines_and_keep_their_place():
  duplicates = DuplicateFilter()
  lines = [json.dumps({'text': LONG}), json.dumps({'text': f'{LONG}\n{OTHER}'}),
           'not json']
  marked = duplicates.mark(block_of('\n'.join(lines), 'jsonl'))
  with pytest.raises(ValueError, match='file, line 3: not JSON'):
    parse_block(marked)
  good = Block('file', 'jsonl', 1, b'\n'.join(marked.data.split(b'\n')[:2]))
  assert parse_block(good) == [[LONG], [OTHER]]


def test_errors_name_the_line_of_the_file():
  duplicates = DuplicateFilter()
  marked = duplicates.mark(Block(
      'file', 'txt', 1, f'{LONG}\n{LONG}\n'.encode() + b'\xff\n'))
  with pytest.raises(ValueError, match='file, line 3: not UTF-8'):
    parse_block(marked)


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
  """Documents of which every second one holds a line of the first."""
  path = tmp_path_factory.mktemp('corpus') / 'text.txt'
  rng = np.random.default_rng(0)
  documents = [
      '\n'.join([' '.join(f'word{n}' for n in rng.integers(50, size=12)), LONG][
          :1 + number % 2]) for number in range(200)]
  path.write_text('\n\n'.join(documents))
  return str(path)


def prepare(output_dir, corpus, num_workers=1, **settings):
  return build.prepare(
      str(output_dir), [corpus], PrepareSettings(
          vocab_size=100, seq_length=32, max_predictions_per_seq=5,
          eval_fraction=0.1, num_shards=2, **settings),
      num_workers=num_workers, say=lambda line: None)


def test_whatever_the_number_of_workers(tmp_path, corpus):
  one = prepare(tmp_path / 'one', corpus, remove_duplicates=True)
  two = prepare(tmp_path / 'two', corpus, 2, remove_duplicates=True)
  assert one.splits == two.splits
  assert one.settings['remove_duplicates'] is True
  assert one.corpus['duplicates'] == {'paragraphs': 99, 'bytes': 99 * len(LONG)}
  plain = prepare(tmp_path / 'plain', corpus)
  assert plain.settings['remove_duplicates'] is False
  assert 'duplicates' not in plain.corpus
  assert (sum(split.tokens for split in plain.splits.values())
          > sum(split.tokens for split in one.splits.values()))


def test_data_of_before_the_setting_is_the_same_data(tmp_path, corpus):
  prepare(tmp_path / 'data', corpus)
  path = tmp_path / 'data/manifest.json'
  content = json.loads(path.read_text())
  del content['settings']['remove_duplicates'], content['unigram']
  path.write_text(json.dumps(content))
  assert prepare(tmp_path / 'data', corpus).unigram is None
  with pytest.raises(ValueError, match='remove_duplicates is False there'):
    prepare(tmp_path / 'data', corpus, remove_duplicates=True)


def test_what_cannot_be_had_is_refused(tmp_path, corpus):
  with pytest.raises(ValueError, match='remove_duplicates is True.*runner=local'):
    build.prepare(str(tmp_path / 'data'), [corpus],
                  PrepareSettings(remove_duplicates=True), runner='beam')
  with pytest.raises(ValueError, match='remove_duplicates is False.*embedded'):
    build.prepare(str(tmp_path / 'data'), [],
                  PrepareSettings(remove_duplicates=False))


def labels(data_dir, manifest, split):
  """The predicted ids of a split, read back from its records."""
  found = []
  for shard in manifest.splits[split].shards:
    for record in tf.data.TFRecordDataset(str(data_dir / shard.file)):
      features = tf.train.Example.FromString(record.numpy()).features.feature
      if 'masked_lm_ids' in features:
        found += [label for label, weight in zip(
            features['masked_lm_ids'].int64_list.value,
            features['masked_lm_weights'].float_list.value) if weight]
      else:
        length = sum(features['input_mask'].int64_list.value)
        found += features['input_word_ids'].int64_list.value[1:length]
  return found


@pytest.mark.parametrize('objective', ['masked_lm', 'causal_lm'])
def test_unigram_level_is_that_of_the_records(tmp_path, corpus, objective):
  settings = dict(vocab_size=100, seq_length=32, eval_fraction=0.1,
                  num_shards=2, objective=objective)
  manifest = build.prepare(
      str(tmp_path / 'data'), [corpus], PrepareSettings(**settings),
      num_workers=1, say=lambda line: None)
  train = labels(tmp_path / 'data', manifest, 'train')
  held_out = labels(tmp_path / 'data', manifest, 'eval')
  total = len(train) + manifest.vocab_size
  expected = np.mean([
      -np.log((train.count(label) + 1) / total) for label in held_out])
  assert manifest.unigram.cross_entropy == pytest.approx(expected, rel=1e-12)
  most = max(sorted(set(train)), key=train.count)
  assert manifest.unigram.accuracy == pytest.approx(
      held_out.count(most) / len(held_out))
  # It survives being written, and is checked when it is read.
  text = (tmp_path / 'data/manifest.json').read_text()
  assert type(manifest).from_json(text).unigram == manifest.unigram
  with pytest.raises(ValueError, match='unigram.cross_entropy'):
    type(manifest).from_json(text.replace(
        f'"cross_entropy": {manifest.unigram.cross_entropy}',
        '"cross_entropy": "low"'))
  # Nothing held out, no level.
  none = build.prepare(
      str(tmp_path / 'none'), [corpus],
      PrepareSettings(**settings | {'eval_fraction': 0.0}), num_workers=1,
      say=lambda line: None)
  assert none.unigram is None
