"""The directory of a fine-tuned model, and what else reads it."""

import dataclasses
import json
import os

import numpy as np
from official.nlp.modeling import models
from official.nlp.modeling import networks
import pytest
import tensorflow as tf

from official_ext.downstream import finetuned_model
from official_ext.downstream.finetuned_model import build_task_model
from official_ext.downstream.finetuned_model import FinetunedTask
from official_ext.downstream.finetuned_model import load_finetuned
from official_ext.downstream.finetuned_model import save_finetuned
from official_ext.modeling import dropout_state
from tests.downstream import samples

TASK = FinetunedTask(
    task='mnli', kind='classification', label_names=('a', 'b', 'c'),
    num_texts=2, seq_length=32, lower_case=False, metrics={'accuracy': 0.5},
    trial='batch8')
QUESTIONS = dataclasses.replace(
    TASK, task='squad20', kind='question_answering', label_names=(),
    doc_stride=4, max_query_length=8, max_answer_length=5, n_best_size=3,
    null_score_threshold=-1.5)


def inputs():
  ids = tf.constant(np.random.default_rng(0).integers(
      5, len(samples.VOCABULARY), [2, 9]), tf.int32)
  return {'input_word_ids': ids, 'input_mask': tf.ones_like(ids),
          'input_type_ids': ids % 2}


def save(folder, task, architecture=samples.ARCHITECTURE):
  model = build_task_model(
      architecture, task.kind, task.num_outputs, initializer_stddev=0.2)
  # As in training; the generator is no part of the model.
  dropout_state.share_generator(model, tf.random.Generator.from_seed(0))
  prefix = save_finetuned(
      os.path.join(folder, 'finetuned'), model, architecture, task,
      vocabulary_file=samples.write_vocabulary(folder))
  return model, prefix


@pytest.mark.parametrize('task', [TASK, QUESTIONS], ids=lambda task: task.kind)
def test_it_is_loaded_as_it_was_and_strictly_by_stock_classes(tmp_path, task):
  model, prefix = save(tmp_path, task)
  found = load_finetuned(os.path.dirname(prefix))
  assert (found.task, found.architecture) == (task, samples.ARCHITECTURE)
  with open(found.vocabulary_file) as file:
    assert file.read().split() == list(samples.VOCABULARY)

  small = samples.ARCHITECTURE
  encoder = networks.BertEncoderV2(
      vocab_size=small.vocab_size, hidden_size=16, num_layers=1,
      num_attention_heads=2, inner_dim=32, max_sequence_length=32,
      type_vocab_size=2)
  if task is TASK:
    stock = models.BertClassifier(encoder, 3, use_encoder_pooler=False)
  else:
    stock = models.BertSpanLabeler(encoder)
  tf.train.Checkpoint(model=stock, **stock.checkpoint_items).read(
      tf.train.latest_checkpoint(os.path.dirname(prefix))).assert_consumed()
  for other in (found.model, stock):
    np.testing.assert_allclose(
        np.array(other(inputs())), np.array(model(inputs())), atol=1e-6)


def test_treated_encoders_are_kept_as_they_are_but_not_pooled(tmp_path):
  architecture = samples.ARCHITECTURE.replace(
      num_layers=2, ffn_rank=4, query_pool_size=2)
  model, prefix = save(tmp_path, TASK, architecture)
  found = load_finetuned(os.path.dirname(prefix))
  assert found.architecture == architecture.replace(query_pool_size=1)
  np.testing.assert_allclose(found.model(inputs()), model(inputs()), atol=1e-6)


def test_what_does_not_belong_together_is_refused(tmp_path):
  _, prefix = save(tmp_path, TASK)
  folder = os.path.dirname(prefix)
  path = os.path.join(folder, finetuned_model.TASK_FILE)
  with open(path) as file:
    fields = json.load(file)

  def rewritten(**changes):
    with open(path, 'w') as file:
      json.dump({**fields, **changes}, file)

  rewritten(label_names=['a', 'b'])
  with pytest.raises(ValueError, match='ckpt-0 is not the model that task.json'):
    load_finetuned(folder)
  rewritten(colour='red')
  with pytest.raises(ValueError, match='task.json describes no task'):
    load_finetuned(folder)
  os.remove(path)
  with pytest.raises(ValueError, match='has no task.json; give the directory'):
    load_finetuned(folder)


def test_a_gpt_and_unknown_kinds_are_refused():
  gpt = dict(num_layers=1, hidden_size=16, num_heads=2, inner_size=32,
             vocab_size=40, family='gpt')
  with pytest.raises(ValueError, match='the model is a GPT; only a BERT'):
    build_task_model(type(samples.ARCHITECTURE)(**gpt), 'classification', 2)
  with pytest.raises(ValueError, match="kind is 'tagging'; expected one of"):
    build_task_model(samples.ARCHITECTURE, 'tagging')
