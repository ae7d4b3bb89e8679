"""A run directory with a tiny model that has not been trained."""

import json
import os

from official_ext.growth.architecture import Architecture
from official_ext.modeling import GrowingBertPretrainer
from official_ext.training.checkpoints import RunCheckpoints
import tf_keras

PIECES = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'function',
          'returns', 'a', 'list', 'of', 'value', '##s', '[', ']', '.', ',',
          'mask', 'caf', '##e')
TARGET = Architecture(num_layers=2, hidden_size=16, num_heads=2, inner_size=32,
                      vocab_size=len(PIECES), max_positions=16)
STAGE = TARGET.replace(num_layers=1, ffn_sharing=2, query_pool_size=2)
NUM_STEPS, NUM_PREDICTIONS = 10, 3


def write_run(path, *, step=NUM_STEPS, use_next_sentence=True):
  """Writes a run that has come to `step`; returns its model."""
  os.makedirs(path, exist_ok=True)
  stages = [
      {'index': 0, 'name': 'half', 'start_step': 0, 'end_step': 5,
       'architecture': STAGE.__dict__, 'depth_growth': 'append'},
      {'index': 1, 'name': 'full', 'start_step': 5, 'end_step': NUM_STEPS,
       'architecture': TARGET.__dict__, 'depth_growth': 'append'}]
  _write(path, 'schedule.json', json.dumps({
      'num_steps': NUM_STEPS, 'batch_size': 2,
      'num_predictions': NUM_PREDICTIONS, 'target': TARGET.__dict__,
      'stages': stages, 'model': {'use_next_sentence': use_next_sentence}}))
  _write(path, 'vocab.txt', '\n'.join(PIECES) + '\n')
  _write(path, 'data_manifest.json', json.dumps(
      {'tokenizer': {'type': 'FastBertTokenizer', 'lower_case': True}}))
  stage_index = int(step >= 5)
  model = GrowingBertPretrainer(
      (STAGE, TARGET)[stage_index], use_next_sentence=use_next_sentence,
      # Far from uniform, so that differences would show.
      initializer_stddev=0.3)
  model.compile(optimizer=tf_keras.optimizers.legacy.Adam())
  RunCheckpoints(os.path.join(path, 'checkpoints')).save(
      model, step=step, stage_index=stage_index)
  return model


def _write(path, name, text):
  with open(os.path.join(path, name), 'w', encoding='utf-8') as file:
    file.write(text)
