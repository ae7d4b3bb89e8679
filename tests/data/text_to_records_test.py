"""`prepare` as a whole: the same bytes, disjoint splits, the stock loader."""

import dataclasses
import gzip
import hashlib
import json
import os
import random

import numpy as np
import pytest

from official_ext.data import build
from official_ext.data import record_index
from official_ext.data.manifest import Manifest
from official_ext.data.output_directory import OutputDirectory
from official_ext.data.settings import PrepareSettings

_WORDS = [
    f'{a}{b}' for a in ('ba', 'do', 'ki', 'lu', 'me', 'no', 'ra', 'ti')
    for b in ('', 'sha', 'ven', 'moku', 'pal', 'tir', 'gon', 'zu')]


def _document(rng: random.Random) -> str:
  return '\n'.join(
      ' '.join(rng.choices(_WORDS, k=rng.randint(4, 12))).capitalize() + '.'
      for _ in range(rng.randint(3, 12)))


@pytest.fixture(scope='module')
def corpus(tmp_path_factory) -> str:
  """Two thousand small documents, a tenth of them twice, in four formats."""
  folder = tmp_path_factory.mktemp('corpus')
  rng = random.Random(3)
  documents = [_document(rng) for _ in range(1200)]
  documents += documents[:120]
  rng.shuffle(documents)
  quarter = len(documents) // 4
  parts = [documents[i * quarter:(i + 1) * quarter] for i in range(4)]
  text = ['\n\n'.join(part) + '\n' for part in parts[:2]]
  records = [''.join(json.dumps({'text': d}) + '\n' for d in part)
             for part in parts[2:]]
  (folder / 'a.txt').write_text(text[0], encoding='utf-8')
  (folder / 'b.txt.gz').write_bytes(gzip.compress(text[1].encode()))
  (folder / 'c.jsonl').write_text(records[0], encoding='utf-8')
  (folder / 'd.jsonl.gz').write_bytes(gzip.compress(records[1].encode()))
  return str(folder / '*')


SETTINGS = PrepareSettings(
    vocab_size=200, seq_length=32, max_predictions_per_seq=6, num_shards=4,
    eval_fraction=0.1, seed=7)


@pytest.fixture(scope='module')
def data(corpus, tmp_path_factory) -> tuple[str, Manifest]:
  path = str(tmp_path_factory.mktemp('data') / 'set')
  return path, build.prepare(path, [corpus], SETTINGS, num_workers=1)


def _files(folder: str) -> dict[str, bytes]:
  contents = {}
  for name in sorted(os.listdir(folder)):
    with open(os.path.join(folder, name), 'rb') as file:
      contents[name] = file.read()
  return contents


def _examples(folder: str, split: str) -> list[dict[str, list]]:
  import tensorflow as tf
  examples = []
  for name in sorted(os.listdir(folder)):
    if name.startswith(split):
      for record in tf.data.TFRecordDataset(os.path.join(folder, name)):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        examples.append({
            key: list(value.float_list.value or value.int64_list.value)
            for key, value in features.items()})
  return examples


def test_two_workers_write_the_bytes_of_one(data, corpus, tmp_path):
  build.prepare(str(tmp_path / 'two'), [corpus], SETTINGS, num_workers=2)
  assert _files(str(tmp_path / 'two')) == _files(data[0])


def test_another_seed_writes_other_records_of_the_same_split(
    data, corpus, tmp_path):
  other = build.prepare(
      str(tmp_path / 'other'), [corpus],
      dataclasses.replace(SETTINGS, seed=8), num_workers=1)
  old, new = data[1].splits['train'], other.splits['train']
  assert (old.documents, old.tokens) == (new.documents, new.tokens)
  assert {s.sha256 for s in old.shards}.isdisjoint(s.sha256 for s in new.shards)


def test_the_manifest_tells_what_is_there(data):
  folder, manifest = data
  files = _files(folder)
  assert Manifest.read(folder) == manifest
  listed = {'manifest.json', 'vocab.txt', 'record_index.npy'}
  for split in manifest.splits.values():
    for shard in split.shards:
      content = files[shard.file]
      listed.add(shard.file)
      assert shard.bytes == len(content)
      assert shard.sha256 == hashlib.sha256(content).hexdigest()
    assert split.examples == sum(shard.examples for shard in split.shards)
  assert set(files) == listed
  index = files['record_index.npy']
  assert dataclasses.asdict(manifest.index) == {
      'file': 'record_index.npy', 'bytes': len(index),
      'sha256': hashlib.sha256(index).hexdigest(), 'interval_records': 64}
  for name in ('train', 'eval'):  # As found by walking the shards.
    np.testing.assert_array_equal(
        record_index.read_offsets(folder, manifest, name),
        record_index.read_offsets(
            folder, dataclasses.replace(manifest, index=None), name))
  assert manifest.vocab_sha256 == hashlib.sha256(files['vocab.txt']).hexdigest()
  assert manifest.vocab_size == len(files['vocab.txt'].splitlines()) == 200
  assert manifest.splits['train'].examples == len(_examples(folder, 'train'))
  # 1320 documents, about a tenth of them held out.
  documents = {k: s.documents for k, s in manifest.splits.items()}
  assert sum(documents.values()) == 1320
  assert 80 <= documents['eval'] <= 190


def test_model_garden_reads_the_records(data):
  from official.nlp.data import pretrain_dataloader
  folder, manifest = data
  config = pretrain_dataloader.BertPretrainDataConfig(
      input_path=os.path.join(folder, 'train-*.tfrecord'), global_batch_size=8,
      is_training=False, seq_length=32, max_predictions_per_seq=6,
      use_v2_feature_names=True, drop_remainder=False)
  rows = 0
  for batch in pretrain_dataloader.BertPretrainDataLoader(config).load():
    assert set(batch) == {
        'input_word_ids', 'input_mask', 'input_type_ids', 'masked_lm_positions',
        'masked_lm_ids', 'masked_lm_weights', 'next_sentence_labels'}
    assert batch['input_word_ids'].shape[1] == 32
    assert batch['masked_lm_weights'].shape[1] == 6
    assert batch['next_sentence_labels'].shape[1] == 1
    rows += batch['input_word_ids'].shape[0]
  assert rows == manifest.splits['train'].examples


def _vocabulary(folder: str) -> list[str]:
  with open(os.path.join(folder, 'vocab.txt'), encoding='utf-8') as file:
    return file.read().splitlines()


def _restored(example, vocabulary) -> list[str]:
  """The example's words as they were before masking."""
  ids = list(example['input_word_ids'])
  for position, label, weight in zip(
      example['masked_lm_positions'], example['masked_lm_ids'],
      example['masked_lm_weights']):
    if weight:
      ids[position] = label
  text = ' '.join(vocabulary[i] for i, m in zip(ids, example['input_mask']) if m)
  return text.replace(' ##', '').split()


def test_every_example_is_well_formed(data):
  folder, _ = data
  vocabulary = _vocabulary(folder)
  for example in _examples(folder, 'train') + _examples(folder, 'eval'):
    words = np.array([vocabulary[i] for i in example['input_word_ids']])
    length = sum(example['input_mask'])
    assert words[0] == '[CLS]' and words[length - 1] == '[SEP]'
    assert (words[length:] == '[PAD]').all()
    assert example['input_mask'] == [1] * length + [0] * (32 - length)
    first_end = list(words).index('[SEP]')
    assert 2 <= first_end < length - 2
    assert example['input_type_ids'] == (
        [0] * (first_end + 1) + [1] * (length - first_end - 1)
        + [0] * (32 - length))
    number = int(sum(example['masked_lm_weights']))
    assert number == min(6, max(1, round(0.15 * length)))
    positions = example['masked_lm_positions']
    assert positions[:number] == sorted(set(positions[:number]))
    assert positions[number:] == [0] * (6 - number)
    assert example['masked_lm_ids'][number:] == [0] * (6 - number)
    assert not {0, first_end, length - 1} & set(positions[:number])
    assert example['next_sentence_labels'] in ([0], [1])


def test_no_sentence_is_on_both_sides_of_the_split(data):
  folder, _ = data
  vocabulary = _vocabulary(folder)

  def runs(split):
    found = set()
    for example in _examples(folder, split):
      words = [w for w in _restored(example, vocabulary)]
      # Five words in a row and a full stop hardly repeat by chance.
      text = ' '.join(words)
      for sentence in text.replace('[SEP]', '.').split('.')[1:-1]:
        if len(sentence.split()) >= 5:
          found.add(sentence.strip())
    return found

  training, held_out = runs('train'), runs('eval')
  assert len(held_out) > 100
  assert not training & held_out


def test_preparing_again_does_nothing(data, corpus):
  folder, manifest = data
  before = {name: os.stat(os.path.join(folder, name)).st_mtime_ns
            for name in os.listdir(folder)}
  said = []
  assert build.prepare(folder, [corpus], SETTINGS, say=said.append) == manifest
  assert said == [f'{folder} already holds this data set; nothing to do']
  assert before == {name: os.stat(os.path.join(folder, name)).st_mtime_ns
                    for name in os.listdir(folder)}


def test_another_data_set_is_not_overwritten(data, corpus):
  folder, _ = data
  with pytest.raises(
      ValueError, match='holds another data set: seq_length is 32 there and 64 '
      'here; give another --output_dir'):
    build.prepare(folder, [corpus], PrepareSettings(
        vocab_size=200, seq_length=64, max_predictions_per_seq=6, num_shards=4,
        eval_fraction=0.1, seed=7))


def test_the_same_text_at_another_length_shares_vocabulary_and_split(
    data, corpus, tmp_path):
  """What training on short sequences first, then on long ones, needs."""
  folder, manifest = data
  longer = dataclasses.replace(
      SETTINGS, seq_length=64, max_predictions_per_seq=10, vocab_size=None,
      vocab_file=os.path.join(folder, 'vocab.txt'))
  other = build.prepare(str(tmp_path / 'long'), [corpus], longer, num_workers=1)
  assert _files(str(tmp_path / 'long'))['vocab.txt'] == _files(folder)['vocab.txt']
  assert other.vocab_sha256 == manifest.vocab_sha256
  assert other.seq_length == 64
  for name, split in manifest.splits.items():
    assert other.splits[name].documents == split.documents
    assert other.splits[name].tokens == split.tokens
  # Both directories know themselves again.
  assert build.prepare(str(tmp_path / 'long'), [corpus], longer) == other
  assert build.prepare(folder, [corpus], SETTINGS) == manifest


def test_foreign_records_are_not_overwritten(corpus, tmp_path):
  (tmp_path / 'train-00000.tfrecord').write_bytes(b'precious')
  with pytest.raises(ValueError, match='holds train-00000.tfrecord but no manif'):
    build.prepare(str(tmp_path), [corpus], SETTINGS)
  assert (tmp_path / 'train-00000.tfrecord').read_bytes() == b'precious'


def test_a_killed_run_is_cleared_away(data, corpus, tmp_path):
  (tmp_path / '.partial').mkdir()
  (tmp_path / '.partial' / 'junk').write_bytes(b'x')
  (tmp_path / 'train-00009-of-00010.tfrecord').write_bytes(b'half')
  build.prepare(str(tmp_path), [corpus], SETTINGS, num_workers=1)
  assert _files(str(tmp_path)) == _files(data[0])


def test_of_two_at_once_the_second_is_refused(corpus, tmp_path):
  first = OutputDirectory(str(tmp_path))
  first.begin()
  (tmp_path / '.partial' / 'of_the_first').write_bytes(b'x')
  with pytest.raises(ValueError) as error:
    build.prepare(str(tmp_path), [corpus], SETTINGS, num_workers=1)
  assert str(error.value) == (
      f'{tmp_path} is being written by another preparation; wait for it or stop '
      'it, or give another --output_dir')
  assert (tmp_path / '.partial' / 'of_the_first').exists()
  first.abandon()
  build.prepare(str(tmp_path), [corpus], SETTINGS, num_workers=1)


def test_an_error_of_the_beginning_is_what_is_told(corpus):
  # Once hidden by what clearing up found. Nobody may make a directory there.
  with pytest.raises(OSError) as error:
    build.prepare('/proc/nowhere/data', [corpus], SETTINGS, num_workers=1)
  assert '/proc/nowhere' in str(error.value)


def test_what_another_has_just_finished_stays(data, tmp_path):
  # It looked before the other's manifest was there, and begins after it.
  second = OutputDirectory(str(tmp_path))
  assert second.existing_manifest() is None
  for name, content in _files(data[0]).items():
    (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match='another preparation has just finished'):
    second.begin()
  assert _files(str(tmp_path)) == _files(data[0])


def test_a_failed_run_leaves_nothing(tmp_path):
  (tmp_path / 'bad.txt').write_bytes(b'good line\n\nbad \xff line\n')
  with pytest.raises(ValueError, match=r'bad\.txt, line 3: not UTF-8 \(byte 0xff'):
    build.prepare(str(tmp_path / 'out'), [str(tmp_path / 'bad.txt')],
                  PrepareSettings(vocab_size=50), num_workers=1)
  assert not (tmp_path / 'out').exists()


def test_a_changed_input_is_noticed(tmp_path):
  rng = random.Random(1)
  path = tmp_path / 'a.txt'
  path.write_text('\n\n'.join(_document(rng) for _ in range(60)))
  arguments = (str(tmp_path / 'out'), [str(path)], SETTINGS)
  build.prepare(*arguments, num_workers=1)
  text = path.read_text()
  path.write_text(text[:-1] + '!')
  with pytest.raises(ValueError, match='the content of .*a.txt is not what it was'):
    build.prepare(*arguments, num_workers=1)


def test_too_few_documents_to_hold_any_out(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('One sentence here.\nAnother one there.\n' * 20)
  with pytest.raises(
      ValueError, match='none of the 1 documents fell into the (eval|train) split'
      '.*separate documents by blank lines'):
    build.prepare(str(tmp_path / 'out'), [str(path)], SETTINGS, num_workers=1)


def test_a_remote_directory(data, corpus, tmp_path):
  """`file://` takes the way of `gs://`: only `tf.io.gfile` may touch it."""
  folder = f'file://{tmp_path}/remote'
  build.prepare(folder, [f'file://{corpus}'], SETTINGS, num_workers=1)
  written = _files(f'{tmp_path}/remote')
  expected = _files(data[0])
  assert written.keys() == expected.keys()
  assert all(written[n] == expected[n] for n in expected if n != 'manifest.json')
  assert Manifest.read(folder).splits == data[1].splits
