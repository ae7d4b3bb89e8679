"""A run directory with a tiny GPT that has not been trained."""

import json
import os

from official_ext.growth.architecture import Architecture
from official_ext.modeling import GrowingGptPretrainer
from official_ext.modeling import weights
from official_ext.training.checkpoints import RunCheckpoints
from tests.export import tiny_run
import numpy as np
import tf_keras

PIECES = tiny_run.PIECES
TARGET = Architecture(
    family='gpt', num_layers=2, hidden_size=16, num_heads=2, inner_size=32,
    vocab_size=len(PIECES), max_positions=20, sequence_length=16)
STAGE = TARGET.replace(num_layers=1, ffn_sharing=2)
NUM_STEPS = 10
SEED = 3


def write_run(path, *, step=NUM_STEPS):
  """Writes a run that has come to `step`; returns its model."""
  os.makedirs(path, exist_ok=True)
  stages = [
      {'index': 0, 'name': 'half', 'start_step': 0, 'end_step': 5,
       'architecture': STAGE.__dict__},
      {'index': 1, 'name': 'full', 'start_step': 5, 'end_step': NUM_STEPS,
       'architecture': TARGET.__dict__}]
  for name, text in (
      ('schedule.json', json.dumps({
          'num_steps': NUM_STEPS, 'batch_size': 2, 'num_predictions': 0,
          'target': TARGET.__dict__, 'stages': stages,
          # The setting of a run, whatever its family.
          'model': {'use_next_sentence': True}})),
      ('vocab.txt', '\n'.join(PIECES) + '\n'),
      ('data_manifest.json', json.dumps(
          {'tokenizer': {'type': 'FastBertTokenizer', 'lower_case': True}}))):
    with open(os.path.join(path, name), 'w', encoding='utf-8') as file:
      file.write(text)
  stage_index = int(step >= 5)
  model = GrowingGptPretrainer(
      (STAGE, TARGET)[stage_index])
  # Far from uniform, so that differences would show, and moved by positions,
  # so that texts do not say one thing for ever.
  random = np.random.default_rng(SEED)
  weights.write_weights(model, {
      name: value + (2.0 if name == 'embeddings/position' else 0.5)
      * random.normal(size=value.shape)
      for name, value in weights.read_weights(model).items()})
  model.compile(optimizer=tf_keras.optimizers.legacy.Adam())
  RunCheckpoints(os.path.join(path, 'checkpoints')).save(
      model, step=step, stage_index=stage_index)
  return model
