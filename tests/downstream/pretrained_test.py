"""What fine-tuning starts from: any maker's checkpoint, if it is finished."""

import dataclasses
import json
import os

import numpy as np
from official.nlp.modeling import models
from official.nlp.modeling import networks
import pytest
import tensorflow as tf

from official_ext.downstream.finetuned_model import build_task_model
from official_ext.downstream.finetuned_model import FinetunedTask
from official_ext.downstream.finetuned_model import save_finetuned
from official_ext.downstream.pretrained import read_pretrained
from official_ext.growth import Architecture
from official_ext.modeling import build_pretrainer
from official_ext.modeling.checkpoint_weights import write_model
from official_ext.modeling.weights import read_weights
from tests.downstream import samples

TARGET = samples.ARCHITECTURE.replace(num_layers=2)


def write(folder, architecture, **options):
  model = build_pretrainer(architecture, initializer_stddev=0.2, **options)
  weights = read_weights(model)
  write_model(str(folder), weights, architecture)
  return str(folder), weights, model


def initialized(path, **options):
  pretrained = read_pretrained(path, **options)
  model = build_task_model(pretrained.architecture, 'classification', 2)
  pretrained.initialize(model)
  return pretrained, model


def inputs():
  ids = tf.constant([[2, 5, 6, 7, 3, 0]])
  return {'input_word_ids': ids, 'input_mask': tf.cast(ids > 0, tf.int32),
          'input_type_ids': tf.zeros_like(ids)}


def test_encoder_and_pooler_of_ours_are_taken_over(tmp_path):
  path, weights, trained = write(tmp_path / 'ours', TARGET)
  pretrained, model = initialized(path)
  encoder = model.checkpoint_items['encoder']
  np.testing.assert_allclose(
      encoder(inputs())['sequence_output'],
      trained.encoder_network(inputs())['sequence_output'], atol=1e-6)
  # That of the next-sentence head, which pre-training trains.
  np.testing.assert_array_equal(
      model.classifier.dense.kernel, weights['next_sentence/dense/kernel'])
  assert not pretrained.vocabulary_file


def test_without_a_next_sentence_head_the_pooler_is_taken(tmp_path):
  path, weights, _ = write(tmp_path / 'ours', TARGET, use_next_sentence=False)
  _, model = initialized(path)
  np.testing.assert_array_equal(
      model.classifier.dense.kernel, weights['pooler/kernel'])


def test_a_stock_checkpoint_of_model_garden(tmp_path):
  encoder = networks.BertEncoderV2(
      vocab_size=25, hidden_size=16, num_layers=2, num_attention_heads=2,
      inner_dim=32, max_sequence_length=32, type_vocab_size=2)
  stock = models.BertPretrainerV2(encoder)
  stock(dict(inputs(), masked_lm_positions=tf.constant([[1]])))
  prefix = tf.train.Checkpoint(model=stock, **stock.checkpoint_items).save(
      str(tmp_path / 'ckpt'))
  pretrained, model = initialized(prefix)
  assert pretrained.architecture == TARGET
  np.testing.assert_allclose(
      model.checkpoint_items['encoder'](inputs())['sequence_output'],
      encoder(inputs())['sequence_output'], atol=1e-6)


def test_a_model_that_was_fine_tuned_before(tmp_path):
  task = FinetunedTask(task='mnli', kind='classification',
                       label_names=('a', 'b', 'c'), num_texts=2, seq_length=32,
                       lower_case=False)
  before = build_task_model(TARGET, task.kind, 3, initializer_stddev=0.2)
  prefix = save_finetuned(
      str(tmp_path / 'finetuned'), before, TARGET, task,
      vocabulary_file=samples.write_vocabulary(tmp_path))
  pretrained, model = initialized(os.path.dirname(prefix))
  for part in ('encoder', 'sentence_prediction.pooler_dense'):
    for now, then in zip(model.checkpoint_items[part].get_weights(),
                         before.checkpoint_items[part].get_weights()):
      np.testing.assert_array_equal(now, then)
  assert model.output_shape == (None, 2)
  assert not pretrained.lower_case
  # The same weights, the same hash.
  assert pretrained.sha256 == read_pretrained(prefix).sha256


@pytest.mark.parametrize('treatment, reason', [
    (dict(query_pool_size=2), 'its layer-0 queries are pooled (query_pool_size 2)'),
    (dict(ffn_sharing=2), 'its feed-forward units are shared (ffn_sharing 2)'),
    (dict(ffn_rank=4), 'its feed-forward blocks are factorised (ffn_rank 4)'),
    (dict(norm_source_size=8), 'its LayerNorms are weighted (norm_source_size 8)'),
])
def test_a_treated_model_is_refused_or_taken_as_it_stands(
    tmp_path, treatment, reason):
  architecture = TARGET.replace(**treatment)
  path, _, trained = write(tmp_path / 'treated', architecture)
  with pytest.raises(ValueError) as refusal:
    read_pretrained(path)
  assert str(refusal.value) == (
      f'{path}/ckpt-0 is in the middle of its growth: {reason}. Let `train` end '
      'it, or add --allow_unfinished to fine-tune the model as it stands.')
  pretrained, model = initialized(path, allow_unfinished=True)
  assert pretrained.architecture == architecture.replace(query_pool_size=1)
  if 'query_pool_size' not in treatment:
    np.testing.assert_allclose(
        model.checkpoint_items['encoder'](inputs())['sequence_output'],
        trained.encoder_network(inputs())['sequence_output'], atol=1e-6)


def test_a_shallower_model_of_a_run_is_refused_too(tmp_path):
  run = tmp_path / 'run'
  os.makedirs(run / 'checkpoints')
  (run / 'schedule.json').write_text(json.dumps({
      'target': dataclasses.asdict(TARGET),
      'stages': [{'architecture': dataclasses.asdict(samples.ARCHITECTURE)}]}))
  model = build_pretrainer(samples.ARCHITECTURE)
  tf.train.Checkpoint(
      model=model, stage_index=tf.Variable(0, dtype=tf.int64),
      **model.checkpoint_items).write(str(run / 'checkpoints' / 'ckpt-0'))
  with pytest.raises(ValueError, match='growth: num_layers is 1 of 2. Let'):
    read_pretrained(str(run))
  assert read_pretrained(
      str(run), allow_unfinished=True).architecture == samples.ARCHITECTURE


def test_a_gpt_is_refused(tmp_path):
  gpt = Architecture(num_layers=1, hidden_size=16, num_heads=2, inner_size=32,
                     vocab_size=25, max_positions=16, family='gpt')
  write_model(str(tmp_path / 'gpt'), read_weights(build_pretrainer(gpt)), gpt)
  with pytest.raises(ValueError, match='is a GPT; only a BERT can be fine-tuned'):
    read_pretrained(str(tmp_path / 'gpt'))
