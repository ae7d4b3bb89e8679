"""A run directory like the ones that `train` writes, made without training."""

import json
import math
import os

import numpy as np

from official_ext.analysis import flops
from official_ext.growth.architecture import Architecture

TARGET = Architecture(num_layers=4, hidden_size=256, num_heads=4,
                      inner_size=1024, vocab_size=8192, max_positions=128)
BATCH_SIZE, NUM_PREDICTIONS, LOG_INTERVAL_STEPS = 32, 20, 20
STAGES = (  # name, steps, layers, treatment, seconds a step
    ('quarter', 240, 1, 2, 0.09), ('half', 240, 2, 2, 0.14),
    ('treated', 360, 4, 2, 0.24), ('full', 360, 4, 1, 0.42))
SCRATCH = (('full', 1200, 4, 1, 0.42),)

CONFIG = """# Pre-trains a small BERT by CompoundGrow.
include 'models/bert_mini.gin'
include 'schedules/compound_grow.gin'
NUM_STEPS = 1200
BATCH_SIZE = 32
train.pretrain_config.note = '<not a tag & not an entity>'
"""

MANIFEST = {
    'seq_length': 128, 'max_predictions_per_seq': 20, 'vocab_size': 8192,
    'vocab_sha256': 'c0ffee' * 10 + 'c0de', 'tokenizer': {'lower_case': True},
    'seed': 0, 'unigram': {'cross_entropy': 6.0, 'accuracy': 0.0581},
    'splits': {
        'train': {'examples': 48_211, 'shards': [
            {'file': f'train-{i}.tfrecord', 'examples': 6000, 'bytes': 9_000_000,
             'sha256': 'ab' * 32} for i in range(8)]},
        'eval': {'examples': 2_410, 'shards': [
            {'file': 'eval-0.tfrecord', 'examples': 2410, 'bytes': 3_000_000,
             'sha256': 'cd' * 32}]}},
    'corpus': {'documents': 31_854, 'bytes': 16_911_204,
               'source': 'docstrings of the installed packages'},
}


def write_run(path, stages=STAGES, stop_at=None):
  """Writes a run directory.

  Args:
    path: where to.
    stages: as `STAGES`.
    stop_at: the run goes on and has done this many steps; None means it ended.
  """
  os.makedirs(path, exist_ok=True)
  last = sum(steps for _, steps, *_ in stages)
  stop_at = last if stop_at is None else stop_at
  random = np.random.default_rng(7)
  resolved, metrics, growths = [], [], []
  start, wall, spent, offset = 0, 4.0, 0, 0.0
  for index, (name, steps, layers, treatment, seconds) in enumerate(stages):
    architecture = TARGET.replace(
        num_layers=layers, ffn_sharing=treatment, query_pool_size=treatment)
    resolved.append({
        'index': index, 'name': name, 'start_step': start,
        'end_step': start + steps, 'architecture': architecture.__dict__,
        'depth_growth': 'append'})

    def line(step, split, **more):
      loss = 5.4 + 4.3 * math.exp(-step / 130) - step / 900 + offset
      loss += 0.05 * float(random.normal()) * (split == 'train')
      return {'step': step, 'stage': index, 'stage_name': name,
              'wall_seconds': wall, 'train_flops': spent, 'split': split,
              'loss': loss, 'masked_lm_loss': loss - 0.66,
              'masked_lm_accuracy': 0.42 * (1 - math.exp(-step / 500)),
              'next_sentence_loss': 0.66, 'next_sentence_accuracy': 0.61,
              'overflow_tokens': 0.0} | more

    if index and start <= stop_at:
      offset += 0.5 if layers != stages[index - 1][2] else 0.2
      metrics.append(line(start, 'eval', moment='after_growth'))
      preserves = layers == stages[index - 1][2]
      growths.append({
          'step': start, 'stage_from': index - 1, 'stage_to': index,
          'from': resolved[-2]['architecture'],
          'to': resolved[-1]['architecture'],
          'operators': (['feed-forward sharing 2 to 1', 'queries unpooled']
                        if preserves else ['depth by stacking (append)']),
          'loss_before': metrics[-2]['loss'], 'loss_after': metrics[-1]['loss'],
          'max_logit_difference': 3.1e-6 if preserves else 2.7,
          'preserves': preserves, 'seconds': 0.81})
    for step in range(start + LOG_INTERVAL_STEPS, start + steps + 1,
                      LOG_INTERVAL_STEPS):
      if step > stop_at:
        break
      offset *= 0.6
      tracing = 12.0 if step == start + LOG_INTERVAL_STEPS else 0.0
      # A slow interval now and then, as another program would cause it.
      step_seconds = seconds * (2 if step % 200 == 0 else 1)
      wall += step_seconds * LOG_INTERVAL_STEPS + tracing
      spent += LOG_INTERVAL_STEPS * flops.train_flops(
          architecture, NUM_PREDICTIONS, BATCH_SIZE)
      metrics.append(line(
          step, 'train', learning_rate=1e-3 * (1 - step / last),
          step_seconds=step_seconds,
          tokens_per_second=BATCH_SIZE * 128 / step_seconds,
          tracing_seconds=tracing))
    start += steps
    if start <= stop_at:
      wall += 2.5
      more = ({'moment': 'before_growth'} if start < last else
              {'moment': 'end', 'most_frequent_token_accuracy': 0.0581})
      metrics.append(line(start, 'eval', **more))
  _write(path, 'schedule.json', json.dumps({
      'num_steps': last, 'batch_size': BATCH_SIZE,
      'num_predictions': NUM_PREDICTIONS, 'target': TARGET.__dict__,
      'stages': resolved, 'model': {'use_next_sentence': True}}))
  _write(path, 'config.gin', CONFIG)
  _write(path, 'data_manifest.json', json.dumps(MANIFEST))
  _write(path, 'metrics.jsonl', _lines(metrics))
  if growths:
    _write(path, 'growth.jsonl', _lines(growths))


def _lines(records):
  return ''.join(json.dumps(record) + '\n' for record in records)


def _write(path, name, text):
  with open(os.path.join(path, name), 'w', encoding='utf-8') as file:
    file.write(text)
