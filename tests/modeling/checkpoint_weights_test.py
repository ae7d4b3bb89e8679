"""Weights out of checkpoints of every maker, and strictly back."""

import json
import re
import shutil

import numpy as np
from official.nlp.configs import bert
from official.nlp.configs import encoders
from official.nlp.tasks import masked_lm
from official.nlp.tasks import sentence_prediction
import pytest
import tensorflow as tf

from official_ext import modeling
from official_ext.growth import Architecture
from official_ext.modeling import checkpoint_source
from official_ext.modeling import checkpoint_weights
from official_ext.modeling import weights as live_weights
from tests.modeling import tiny_bert

# Its functional encoder says that it has no use for masked_lm_positions.
pytestmark = pytest.mark.filterwarnings(
    'ignore:Input dict contained keys:UserWarning')

_ENCODER = encoders.EncoderConfig(type='bert', bert=encoders.BertEncoderConfig(
    vocab_size=50, hidden_size=8, num_layers=2, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=16, type_vocab_size=2))
_GPT = Architecture(
    family='gpt', num_layers=2, hidden_size=8, num_heads=2, inner_size=16,
    vocab_size=50, max_positions=16)


def _stock_pretrainer(num_classes=2):
  task = masked_lm.MaskedLMTask(masked_lm.MaskedLMConfig(
      model=bert.PretrainerConfig(encoder=_ENCODER, cls_heads=[
          bert.ClsHeadConfig(inner_dim=8, num_classes=num_classes,
                             dropout_rate=0.1, name='next_sentence')])))
  model = task.build_model()
  model(tiny_bert.inputs(tiny_bert.features()))
  # Zeros everywhere would make any two biases interchangeable.
  random = np.random.default_rng(1)
  for variable in model.trainable_variables:
    variable.assign(random.normal(size=variable.shape))
  return model


@pytest.fixture(name='stock', scope='module')
def _stock():
  return _stock_pretrainer()


@pytest.fixture(name='weights', scope='module')
def _weights(stock):
  """The stock model's, read from the live objects."""
  return live_weights.read_weights(stock)


def _save(directory, **objects):
  return tf.train.Checkpoint(**objects).save(str(directory / 'ckpt'))


def _assert_equal(got, expected):
  assert sorted(got) == sorted(expected)
  for name, array in expected.items():
    np.testing.assert_array_equal(got[name], array, err_msg=name)


def _without(weights, *heads):
  return {name: array for name, array in weights.items()
          if not name.startswith(tuple(f'{head}/' for head in heads))}


@pytest.mark.parametrize('objects, absent', [
    (lambda stock: dict(model=stock, **stock.checkpoint_items), ()),
    (lambda stock: dict(model=stock), ()),
    (lambda stock: dict(encoder=stock.encoder_network),
     ('masked_lm', 'next_sentence')),
    (lambda stock: dict(model=stock.encoder_network),
     ('masked_lm', 'next_sentence')),
], ids=['model and items', 'model', 'encoder', 'encoder as model'])
def test_stock_objects_are_read(stock, weights, tmp_path, objects, absent):
  _save(tmp_path, **objects(stock))
  got, architecture = checkpoint_weights.read_checkpoint(str(tmp_path))
  _assert_equal(got, _without(weights, *absent))
  assert architecture == tiny_bert.PLAIN


def test_weights_that_keras_saved_are_read(stock, weights, tmp_path):
  stock.save_weights(str(tmp_path / 'saved'))
  got, _ = checkpoint_weights.read_checkpoint(str(tmp_path / 'saved'))
  _assert_equal(got, weights)


@pytest.fixture(name='run', scope='module')
def _run(tmp_path_factory):
  """A run directory in the middle of a treated stage, and its model."""
  path = tmp_path_factory.mktemp('run')
  model = modeling.GrowingBertPretrainer(tiny_bert.TREATED)
  model.compile(optimizer=tiny_bert.adamw())
  model.fit(tf.data.Dataset.from_tensors(tiny_bert.features()), verbose=0)
  from official_ext.training.checkpoints import RunCheckpoints
  RunCheckpoints(str(path / 'checkpoints')).save(model, step=3, stage_index=1)
  stages = [{'architecture': architecture.__dict__}
            for architecture in (tiny_bert.PLAIN, tiny_bert.TREATED)]
  (path / 'schedule.json').write_text(json.dumps({'stages': stages}))
  (path / 'vocab.txt').write_text('[PAD]\n')
  (path / 'data_manifest.json').write_text(
      json.dumps({'tokenizer': {'lower_case': False}}))
  return path, model


def test_a_treated_stage_of_a_run_is_read(run):
  path, model = run
  for place in (path, path / 'checkpoints', path / 'checkpoints' / 'ckpt-3'):
    got, architecture = checkpoint_weights.read_checkpoint(str(place))
    _assert_equal(got, live_weights.read_weights(model))
    assert architecture == tiny_bert.TREATED
  source = checkpoint_source.find_checkpoint(str(path))
  assert source.lower_case is False
  assert tf.io.gfile.exists(source.vocabulary_file)


def test_what_shapes_cannot_say_is_written_beside(weights, tmp_path):
  architecture = tiny_bert.PLAIN.replace(
      activation='gelu_erf', norm_epsilon=1e-6, sequence_length=8)
  (tmp_path / 'pieces.txt').write_text('[PAD]\n')
  prefix = checkpoint_weights.write_model(
      str(tmp_path / 'model'), weights, architecture,
      vocab_file=str(tmp_path / 'pieces.txt'), lower_case=False)
  assert prefix == str(tmp_path / 'model' / 'ckpt-0')
  got, found = checkpoint_weights.read_checkpoint(str(tmp_path / 'model'))
  _assert_equal(got, weights)
  assert found == architecture
  source = checkpoint_source.find_checkpoint(prefix)
  assert not source.lower_case
  assert source.vocabulary_file == str(tmp_path / 'model' / 'vocab.txt')


@pytest.mark.parametrize('absent', [
    (), ('next_sentence',), ('masked_lm',), ('masked_lm', 'next_sentence'),
    ('pooler', 'next_sentence'), ('pooler', 'masked_lm', 'next_sentence')])
def test_heads_come_back_as_they_were(weights, tmp_path, absent):
  some = _without(weights, *absent)
  checkpoint_weights.write_model(str(tmp_path), some, tiny_bert.PLAIN)
  got, architecture = checkpoint_weights.read_checkpoint(str(tmp_path))
  _assert_equal(got, some)
  assert architecture == tiny_bert.PLAIN
  # A pooler that is not there is written all the same.
  encoder = encoders.build_encoder(_ENCODER)
  encoder(tiny_bert.features())
  tf.train.Checkpoint(encoder=encoder).restore(
      str(tmp_path / 'ckpt-0')).assert_existing_objects_matched()
  np.testing.assert_array_equal(
      encoder.get_embedding_table(), weights['embeddings/word'])
  if 'pooler' in absent:
    assert not np.any(encoder.pooler_layer.kernel)


def test_stock_classes_restore_what_is_written_strictly(
    stock, weights, tmp_path):
  prefix = checkpoint_weights.write_model(
      str(tmp_path), weights, tiny_bert.PLAIN)
  other = _stock_pretrainer()
  for variable in other.trainable_variables:
    variable.assign(tf.zeros_like(variable))
  tf.train.Checkpoint(model=other, **other.checkpoint_items).restore(
      prefix).assert_existing_objects_matched()
  inputs = tiny_bert.inputs(tiny_bert.features())
  for name, expected in stock(inputs).items():
    if name in ('mlm_logits', 'next_sentence', 'pooled_output'):
      np.testing.assert_array_equal(other(inputs)[name], expected)


@pytest.mark.parametrize('absent', [(), ('masked_lm',)])
def test_fine_tuning_starts_from_what_is_written(weights, tmp_path, absent):
  prefix = checkpoint_weights.write_model(
      str(tmp_path), _without(weights, *absent), tiny_bert.PLAIN)
  task = sentence_prediction.SentencePredictionTask(
      sentence_prediction.SentencePredictionConfig(
          init_checkpoint=prefix, init_cls_pooler=True,
          model=sentence_prediction.ModelConfig(
              encoder=_ENCODER, num_classes=2)))
  classifier = task.build_model()
  task.initialize(classifier)
  pooler = classifier.checkpoint_items['sentence_prediction.pooler_dense']
  np.testing.assert_array_equal(
      pooler.kernel, weights['next_sentence/dense/kernel'])
  np.testing.assert_array_equal(
      classifier.checkpoint_items['encoder'].get_embedding_table(),
      weights['embeddings/word'])


def test_a_gpt_comes_back(tmp_path):
  model = modeling.build_pretrainer(_GPT)
  weights = live_weights.read_weights(model)
  checkpoint_weights.write_model(str(tmp_path / 'written'), weights, _GPT)
  got, architecture = checkpoint_weights.read_checkpoint(
      str(tmp_path / 'written'))
  _assert_equal(got, weights)
  assert architecture == _GPT
  # Without what is written beside it, too.
  _save(tmp_path, model=model, **model.checkpoint_items)
  got, architecture = checkpoint_weights.read_checkpoint(str(tmp_path))
  _assert_equal(got, weights)
  assert architecture == _GPT


_WEIGHTED = tiny_bert.PLAIN.replace(hidden_size=12, num_heads=3,
                                   norm_source_size=8)


@pytest.mark.parametrize('architecture', [
    _WEIGHTED, _GPT.replace(hidden_size=12, num_heads=3, norm_source_size=8)],
                         ids=['bert', 'gpt'])
def test_weighted_norms_count_as_what_training_made_of_them(
    tmp_path, architecture):
  model = modeling.build_pretrainer(architecture)
  weights = live_weights.read_weights(model)
  checkpoint_weights.write_model(str(tmp_path), weights, architecture)
  assert checkpoint_weights.read_checkpoint(str(tmp_path))[1] == architecture

  model.set_norm_annealing(4)
  for step in (0, 1, 4):
    model.norm_annealing.step.assign(step)
    _save(tmp_path, model=model, **model.checkpoint_items)
    if step == 1:
      assert _message(tmp_path).endswith(
          'is 25% on its way from weighted to ordinary LayerNorms; let `train` '
          'end that, and give a later checkpoint.')
      continue
    got, found = checkpoint_weights.read_checkpoint(str(tmp_path))
    _assert_equal(got, weights)
    assert found == (
        architecture if step == 0
        else architecture.replace(norm_source_size=None))
  model.norm_annealing.step.assign(0)
  _save(tmp_path, model=model)
  (tmp_path / 'architecture.json').unlink()
  assert 'has weighted LayerNorms, of which only schedule.json' in _message(
      tmp_path)


@pytest.mark.parametrize('plain', [tiny_bert.PLAIN, _GPT], ids=['bert', 'gpt'])
def test_factorised_feed_forward_blocks_come_back(tmp_path, plain):
  architecture = plain.replace(ffn_rank=3)
  weights = live_weights.read_weights(modeling.build_pretrainer(architecture))
  checkpoint_weights.write_model(str(tmp_path), weights, architecture)
  got, found = checkpoint_weights.read_checkpoint(str(tmp_path))
  _assert_equal(got, weights)
  assert found == architecture


def _message(path):
  with pytest.raises(ValueError) as error:
    checkpoint_weights.read_checkpoint(str(path))
  assert '\n' not in str(error.value)
  return str(error.value)


def test_no_checkpoint(tmp_path):
  assert _message(tmp_path) == (
      f'{tmp_path} has no checkpoint; give a run directory of `train`, a '
      'directory that `grow` or `convert` wrote, or the prefix of a checkpoint '
      '(folder/ckpt-100).')


def test_unknown_variables_are_refused_and_listed(stock, tmp_path):
  _save(tmp_path, encoder=stock.encoder_network,
        classifier=tf.train.Checkpoint(kernel=tf.Variable(tf.ones([8, 3]))))
  assert re.search(
      r'unknown variables classifier/kernel; expected those of one encoder',
      _message(tmp_path))


def test_another_model_s_checkpoint_is_refused(tmp_path):
  _save(tmp_path, model=tf.train.Checkpoint(kernel=tf.Variable(tf.ones([2]))))
  assert 'there is no BERT encoder in it; expected Model' in _message(tmp_path)


def test_a_head_of_other_classes_is_no_next_sentence_head(tmp_path):
  model = _stock_pretrainer(num_classes=3)
  _save(tmp_path, model=model)
  assert ('next_sentence/output/kernel (8, 3) (expected (8, 2))'
          in _message(tmp_path))


def test_a_written_architecture_that_does_not_fit_is_refused(weights, tmp_path):
  checkpoint_weights.write_model(str(tmp_path), weights, tiny_bert.PLAIN)
  path = tmp_path / 'architecture.json'
  path.write_text(path.read_text().replace('"inner_size": 16', '"inner_size": 8'))
  assert 'layer_0/ffn/inner/kernel (8, 16) (expected (8, 8))' in _message(tmp_path)
  path.write_text('{"architecture": {"hidden": 8}}')
  assert f'{path} describes no architecture: ' in _message(tmp_path)


def test_a_damaged_checkpoint_is_refused(run, tmp_path):
  path = shutil.copytree(run[0], tmp_path / 'run')
  (data,) = (path / 'checkpoints').glob('ckpt-3.data*')
  whole = data.read_bytes()
  data.write_bytes(whole[:100] + b'?' + whole[101:])
  message = _message(path)
  assert f'{path}/checkpoints/ckpt-3 is damaged (' in message
  assert message.endswith('give an earlier one by its prefix (folder/ckpt-100).')
  data.write_bytes(whole[:100])
  assert 'ckpt-3' in _message(path)


def test_a_lost_list_of_checkpoints_is_no_loss(weights, tmp_path):
  other = {name: array + 1 for name, array in weights.items()}
  for step, some in ((9, other), (10, weights)):
    checkpoint_weights.write_model(
        str(tmp_path / str(step)), some, tiny_bert.PLAIN)
    for file in (tmp_path / str(step)).glob('ckpt-0.*'):
      file.rename(tmp_path / file.name.replace('ckpt-0', f'ckpt-{step}'))
  got, _ = checkpoint_weights.read_checkpoint(str(tmp_path))
  _assert_equal(got, weights)


def test_weights_that_do_not_fit_are_not_written(weights, tmp_path):
  with pytest.raises(ValueError, match='missing layer_0/ffn/norm/beta'):
    checkpoint_weights.write_model(
        str(tmp_path / 'new'),
        {n: w for n, w in weights.items() if n != 'layer_0/ffn/norm/beta'},
        tiny_bert.PLAIN)
  assert not (tmp_path / 'new').exists()
