"""A data directory and a run that are small enough for a test."""

import dataclasses
import hashlib
import os

import numpy as np
import tensorflow as tf

from official_ext.data.manifest import Manifest
from official_ext.data.manifest import Shard
from official_ext.data.manifest import Split
from official_ext.growth import Architecture
from official_ext.schedules import compound_grow
from official_ext.training.run_config import PretrainConfig

SEQUENCE_LENGTH, PREDICTIONS, VOCABULARY = 16, 3, 40
ARCHITECTURE = Architecture(
    num_layers=4, hidden_size=16, num_heads=2, inner_size=32,
    vocab_size=VOCABULARY, max_positions=SEQUENCE_LENGTH)


def write_data(path, shard_sizes=(20, 13, 30), eval_size=12, *,
               sequence_length=SEQUENCE_LENGTH, vocabulary_prefix='piece') -> str:
  """Writes shards whose records say, in word 1, which record they are."""
  os.makedirs(path, exist_ok=True)
  rng = np.random.default_rng(7)
  numbers = iter(range(10_000))
  splits = {}
  for split, sizes in (('train', shard_sizes), ('eval', (eval_size,))):
    shards = tuple(
        _write_shard(
            path, f'{split}-{i}.tfrecord', size, rng, numbers, sequence_length)
        for i, size in enumerate(sizes))
    splits[split] = Split(
        examples=sum(sizes), documents=1, tokens=1, shards=shards)
  _write_manifest(path, splits, vocabulary_prefix, seq_length=sequence_length)
  return str(path)


def write_causal_data(path, sizes=(40, 30), eval_size=12) -> str:
  """As `write_data`, for a GPT."""
  os.makedirs(path, exist_ok=True)
  rng = np.random.default_rng(7)
  splits = {
      split: Split(examples=sum(sizes), documents=1, tokens=1, shards=tuple(
          _write_shard(path, f'{split}-{i}.tfrecord', size, rng, None)
          for i, size in enumerate(sizes)))
      for split, sizes in (('train', sizes), ('eval', (eval_size,)))}
  _write_manifest(path, splits, objective='causal_lm',
                  max_predictions_per_seq=0)
  return str(path)


def config(tmp_path, **changes) -> PretrainConfig:
  """A run of 20 steps: stages of 4, 4, 6 and 6 steps."""
  data_dir = os.path.join(tmp_path, 'data')
  if not os.path.exists(data_dir):
    write_data(data_dir)
  plain = PretrainConfig(
      architecture=ARCHITECTURE, schedule=compound_grow(), num_steps=20,
      batch_size=8, model_dir=os.path.join(tmp_path, 'run'),
      data_dir=data_dir, num_predictions=PREDICTIONS, eval_steps=1,
      peak_learning_rate=1e-3, log_interval_steps=1,
      checkpoint_interval_steps=1, profile_steps=0)
  return dataclasses.replace(plain, **changes)


def _write_manifest(path, splits, vocabulary_prefix='piece', **changes) -> None:
  pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  pieces += [f'{vocabulary_prefix}{i}' for i in range(len(pieces), VOCABULARY)]
  vocabulary = ''.join(f'{piece}\n' for piece in pieces)
  with open(os.path.join(path, 'vocab.txt'), 'w') as file:
    file.write(vocabulary)
  Manifest(**{
      'seq_length': SEQUENCE_LENGTH, 'max_predictions_per_seq': PREDICTIONS,
      'vocab_size': VOCABULARY,
      'vocab_sha256': hashlib.sha256(vocabulary.encode()).hexdigest(),
      'tokenizer': {'type': 'FastBertTokenizer', 'lower_case': True}, 'seed': 0,
      'settings': {}, 'corpus': {'kind': 'files', 'files': []},
      'splits': splits, 'versions': {}} | changes).write(str(path))


def _write_shard(path, name, size, rng, numbers,
                 sequence_length=SEQUENCE_LENGTH) -> Shard:
  file = os.path.join(path, name)
  with tf.io.TFRecordWriter(file) as writer:
    for _ in range(size):
      writer.write(_causal_record(rng) if numbers is None
                   else _record(rng, next(numbers), sequence_length))
  with open(file, 'rb') as content:
    data = content.read()
  return Shard(file=name, examples=size, bytes=len(data),
               sha256=hashlib.sha256(data).hexdigest())


def _causal_record(rng) -> bytes:
  length = int(rng.integers(8, SEQUENCE_LENGTH + 1))
  words = np.zeros(SEQUENCE_LENGTH, np.int64)
  words[:length] = 5 + (rng.integers(35) + np.arange(length)) % 35
  mask = (np.arange(SEQUENCE_LENGTH) < length).astype(np.int64)
  example = tf.train.Example()
  for key, values in (('input_word_ids', words), ('input_mask', mask)):
    example.features.feature[key].int64_list.value.extend(values.tolist())
  return example.SerializeToString()


def _record(rng, number, sequence_length) -> bytes:
  length = int(rng.integers(8, sequence_length + 1))
  words = np.zeros(sequence_length, np.int64)
  # A pattern that can be learnt: words count up from a random start.
  words[:length] = 5 + (rng.integers(35) + np.arange(length)) % 35
  # Not a feature that training reads as anything but a word.
  words[1] = 5 + number % 35
  predictions = int(rng.integers(1, PREDICTIONS + 1))
  positions = np.zeros(PREDICTIONS, np.int64)
  positions[:predictions] = np.sort(
      2 + rng.permutation(length - 2)[:predictions])
  ids = np.where(positions > 0, words[positions], 0)
  words[positions[:predictions]] = 4
  features = {
      'input_word_ids': words,
      'input_mask': (np.arange(sequence_length) < length).astype(np.int64),
      'input_type_ids': (np.arange(sequence_length) >= 6).astype(np.int64),
      'masked_lm_positions': positions,
      'masked_lm_ids': ids,
      'next_sentence_labels': np.array([number % 2]),
  }
  example = tf.train.Example()
  for key, values in features.items():
    example.features.feature[key].int64_list.value.extend(values.tolist())
  example.features.feature['masked_lm_weights'].float_list.value.extend(
      (positions > 0).astype(float).tolist())
  return example.SerializeToString()
