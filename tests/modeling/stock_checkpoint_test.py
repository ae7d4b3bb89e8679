"""An untreated model's checkpoint in Model Garden's own objects."""

import numpy as np
from official.nlp.configs import bert
from official.nlp.configs import encoders
from official.nlp.tasks import masked_lm
from official.nlp.tasks import sentence_prediction
import pytest
import tensorflow as tf

from official_ext import modeling
from official_ext.modeling import weights
from tests.modeling import tiny_bert

# Its functional encoder says that it has no use for masked_lm_positions.
pytestmark = pytest.mark.filterwarnings(
    'ignore:Input dict contained keys:UserWarning')

_ENCODER = encoders.EncoderConfig(type='bert', bert=encoders.BertEncoderConfig(
    vocab_size=50, hidden_size=8, num_layers=2, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=16, type_vocab_size=2))


@pytest.fixture(name='saved', scope='module')
def _saved(tmp_path_factory):
  """A model that grew and trained, and its checkpoint."""
  model = modeling.GrowingBertPretrainer(tiny_bert.TREATED)
  model.replace_architecture(tiny_bert.PLAIN)
  model.compile(optimizer=tiny_bert.adamw())
  model.fit(tf.data.Dataset.from_tensors(tiny_bert.features()), verbose=0)
  checkpoint = tf.train.Checkpoint(
      model=model, optimizer=model.optimizer, **model.checkpoint_items)
  path = checkpoint.save(str(tmp_path_factory.mktemp('run') / 'ckpt'))
  return model, path


def test_model_gardens_pretraining_model_restores_strictly(saved):
  model, path = saved
  task = masked_lm.MaskedLMTask(masked_lm.MaskedLMConfig(
      model=bert.PretrainerConfig(encoder=_ENCODER, cls_heads=[
          bert.ClsHeadConfig(inner_dim=8, num_classes=2, dropout_rate=0.1,
                             name='next_sentence')])))
  stock = task.build_model()
  batch = tiny_bert.features(lengths=[16, 8, 5, 11], counts=[4, 1, 2, 0])
  stock(tiny_bert.inputs(batch))
  tf.train.Checkpoint(model=stock, **stock.checkpoint_items).restore(
      path).assert_existing_objects_matched()
  expected, got = model(batch), stock(tiny_bert.inputs(batch))
  for name in ('mlm_logits', 'next_sentence', 'pooled_output'):
    np.testing.assert_array_equal(got[name], expected[name])


def test_a_stock_encoder_restores_strictly(saved):
  model, path = saved
  encoder = encoders.build_encoder(_ENCODER)
  batch = tiny_bert.features()
  encoder(batch)
  tf.train.Checkpoint(encoder=encoder).restore(
      path).assert_existing_objects_matched()
  np.testing.assert_array_equal(
      encoder(batch)['sequence_output'], model(batch)['sequence_output'])


def test_model_gardens_fine_tuning_task_starts_from_it(saved):
  model, path = saved
  task = sentence_prediction.SentencePredictionTask(
      sentence_prediction.SentencePredictionConfig(
          init_checkpoint=path,
          init_cls_pooler=True,
          model=sentence_prediction.ModelConfig(
              encoder=_ENCODER, num_classes=2)))
  classifier = task.build_model()
  task.initialize(classifier)
  names = weights.read_weights(model)
  pooler = classifier.checkpoint_items['sentence_prediction.pooler_dense']
  np.testing.assert_array_equal(
      pooler.kernel, names['next_sentence/dense/kernel'])
  np.testing.assert_array_equal(
      classifier.checkpoint_items['encoder'].get_embedding_table(),
      names['embeddings/word'])


def test_nothing_of_an_earlier_stage_is_saved(saved):
  _, path = saved
  shapes = {name: shape for name, shape in tf.train.list_variables(path)
            if 'encoder' in name}
  # The treated stage stored 16 / 4 inner units.
  assert [8, 16] in shapes.values()
  assert not [name for name, shape in shapes.items() if shape == [8, 4]]
