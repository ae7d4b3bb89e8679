"""BERTs from Hugging Face's files to Model Garden's, and back."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from official_ext.export import conversion
from official_ext.export import huggingface
from official_ext.growth import Architecture
from official_ext.modeling import checkpoint_weights
from tests.export import numpy_huggingface
from tests.export import tiny_run

CONFIG = numpy_huggingface.CONFIG
HEADS = [dict(), dict(next_sentence=False),
         dict(next_sentence=False, pooler=False), dict(masked_lm=False),
         dict(masked_lm=False, next_sentence=False),
         dict(masked_lm=False, next_sentence=False, pooler=False)]


def _ids(heads):
  return ' '.join(name for name, there in heads.items() if not there) or 'all'


def write(path, tensors, *, pieces=numpy_huggingface.PIECES, **changes):
  """Writes a model as one would download it."""
  path.mkdir()
  (path / 'config.json').write_text(json.dumps({**CONFIG, **changes}))
  (path / 'vocab.txt').write_text(''.join(f'{piece}\n' for piece in pieces))
  (path / 'tokenizer_config.json').write_text('{"do_lower_case": false}')
  safetensors.numpy.save_file(tensors, str(path / 'model.safetensors'))
  return str(path)


def outputs(directory, features):
  """What a written Model Garden checkpoint computes."""
  model = checkpoint_weights.load_model(
      *checkpoint_weights.read_checkpoint(directory))
  length = features['ids'].shape[1]
  positions = np.tile(np.arange(length, dtype=np.int32), (len(features['ids']), 1))
  return model({
      'input_word_ids': tf.constant(features['ids'], tf.int32),
      'input_type_ids': tf.constant(features['types'], tf.int32),
      'input_mask': tf.constant(features['mask'], tf.int32),
      'masked_lm_positions': tf.constant(positions)})


@pytest.mark.parametrize('hidden_act', ['gelu', 'gelu_new', 'relu'])
def test_every_hidden_state_and_head_is_kept(tmp_path, hidden_act):
  tensors = numpy_huggingface.random_tensors()
  source = write(tmp_path / 'there', tensors, hidden_act=hidden_act)
  conversion.to_model_garden(source, str(tmp_path / 'here'))
  features = numpy_huggingface.inputs()
  expected = numpy_huggingface.forward(
      tensors, **features, config={**CONFIG, 'hidden_act': hidden_act})
  got = outputs(str(tmp_path / 'here'), features)
  for ours, theirs in zip(got['encoder_outputs'], expected['hidden'][1:],
                          strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
  for ours, theirs in (('pooled_output', 'pooled'), ('mlm_logits', 'masked_lm'),
                       ('next_sentence', 'next_sentence')):
    np.testing.assert_allclose(got[ours], expected[theirs], atol=2e-5)


@pytest.mark.parametrize('heads', HEADS, ids=_ids)
def test_there_and_back(tmp_path, heads):
  has_head = heads.get('masked_lm', True) or heads.get('next_sentence', True)
  tensors = numpy_huggingface.random_tensors(
      **heads, prefix='bert.' if has_head else '')
  source = write(tmp_path / 'there', tensors)
  conversion.to_model_garden(source, str(tmp_path / 'here'))
  conversion.to_hugging_face(str(tmp_path / 'here'), str(tmp_path / 'back'))
  back = safetensors.numpy.load_file(str(tmp_path / 'back/model.safetensors'))
  assert sorted(back) == sorted(tensors)
  for name, tensor in tensors.items():
    np.testing.assert_array_equal(back[name], tensor, err_msg=name)
  config = json.loads((tmp_path / 'back/config.json').read_text())
  name = {(True, True): 'BertForPreTraining', (True, False): 'BertForMaskedLM',
          (False, True): 'BertForNextSentencePrediction',
          (False, False): 'BertModel'}[
              heads.get('masked_lm', True), heads.get('next_sentence', True)]
  assert config.items() >= {**CONFIG, 'architectures': [name]}.items()
  for file in ('vocab.txt', 'tokenizer_config.json'):
    assert (tmp_path / 'back' / file).exists()
  assert ((tmp_path / 'back/vocab.txt').read_bytes()
          == (tmp_path / 'there/vocab.txt').read_bytes())
  tokenizer = json.loads((tmp_path / 'back/tokenizer_config.json').read_text())
  assert tokenizer['do_lower_case'] is False


@pytest.mark.parametrize('change', [
    'no prefix', 'old names', 'shards', 'buffers and tied decoder'])
def test_other_ways_to_write_the_same(tmp_path, change):
  tensors = numpy_huggingface.random_tensors()
  path = tmp_path / 'there'
  written = dict(tensors)
  if change == 'no prefix':
    written = numpy_huggingface.random_tensors(prefix='')
  elif change == 'old names':
    written = {
        name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace(
            'LayerNorm.bias', 'LayerNorm.beta'): tensor
        for name, tensor in tensors.items()}
    assert written.keys() != tensors.keys()
  elif change.startswith('buffers'):
    written |= {
        'bert.embeddings.position_ids': np.arange(10)[None],
        'cls.predictions.decoder.weight':
            tensors['bert.embeddings.word_embeddings.weight'],
        'cls.predictions.decoder.bias': tensors['cls.predictions.bias']}
  write(path, written)
  if change == 'shards':
    (path / 'model.safetensors').unlink()
    names = sorted(tensors)
    files = {'model-00001-of-00002.safetensors': names[::2],
             'model-00002-of-00002.safetensors': names[1::2]}
    for file, held in files.items():
      safetensors.numpy.save_file(
          {name: tensors[name] for name in held}, str(path / file))
    (path / 'model.safetensors.index.json').write_text(json.dumps({
        'weight_map': {name: file for file, held in files.items()
                       for name in held}}))
  got = huggingface.read_huggingface(str(path)).weights
  plain = huggingface.read_huggingface(
      write(tmp_path / 'plain', tensors)).weights
  assert got.keys() == plain.keys()
  for name, array in plain.items():
    np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16])
def test_narrow_numbers_become_float32(tmp_path, dtype):
  tensors = {name: tensor.astype(dtype) for name, tensor in
             numpy_huggingface.random_tensors().items()}
  got = huggingface.read_huggingface(write(tmp_path / 'there', tensors)).weights
  assert {array.dtype for array in got.values()} == {np.dtype(np.float32)}
  np.testing.assert_array_equal(
      got['embeddings/word'],
      tensors['bert.embeddings.word_embeddings.weight'].astype(np.float32))


def test_a_vocabulary_in_tokenizer_json(tmp_path):
  path = tmp_path / 'there'
  write(path, numpy_huggingface.random_tensors())
  (path / 'vocab.txt').unlink()
  (path / 'tokenizer_config.json').write_text('{}')
  pieces = numpy_huggingface.PIECES
  content = {'normalizer': {'type': 'BertNormalizer', 'lowercase': False},
             'model': {'type': 'WordPiece', 'vocab': dict(reversed([
                 (piece, index) for index, piece in enumerate(pieces)]))}}
  (path / 'tokenizer.json').write_text(json.dumps(content))
  source = huggingface.read_huggingface(str(path))
  assert source.vocabulary == pieces
  assert source.lower_case is False
  content['model']['type'] = 'BPE'
  (path / 'tokenizer.json').write_text(json.dumps(content))
  with pytest.raises(ValueError, match='is a BPE tokenizer; a BERT has a WordP'):
    huggingface.read_huggingface(str(path))


def test_a_treated_run_is_converted_as_it_computes(tmp_path):
  tiny_run.write_run(tmp_path / 'run', step=3)
  lines = conversion.to_hugging_face(
      str(tmp_path / 'run'), str(tmp_path / 'there'))
  assert any(line.startswith('Queries are pooled no more') for line in lines)
  config = json.loads((tmp_path / 'there/config.json').read_text())
  assert config['intermediate_size'] == tiny_run.STAGE.stored_inner_size == 16
  assert config['hidden_act'] == 'gelu_new'
  tensors = safetensors.numpy.load_file(
      str(tmp_path / 'there/model.safetensors'))
  weights, _ = checkpoint_weights.read_checkpoint(str(tmp_path / 'run'))
  # What pre-training trains, and not the encoder's own pooler.
  np.testing.assert_array_equal(tensors['bert.pooler.dense.weight'],
                                weights['next_sentence/dense/kernel'].T)
  features = numpy_huggingface.inputs()
  expected = numpy_huggingface.forward(tensors, **features, config=config)
  model = checkpoint_weights.load_model(
      weights, tiny_run.STAGE.replace(query_pool_size=1))
  got = model.encoder_network({
      'input_word_ids': features['ids'], 'input_type_ids': features['types'],
      'input_mask': features['mask']})
  np.testing.assert_allclose(
      got['sequence_output'], expected['hidden'][-1], atol=1e-5)


def _message(call, *arguments):
  with pytest.raises(ValueError) as error:
    call(*map(str, arguments))
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('name', [
    'pytorch_model.bin', 'model.pt', 'last.ckpt', 'weights.pth'])
def test_pickles_are_never_read(tmp_path, name):
  path = tmp_path / 'there'
  write(path, numpy_huggingface.random_tensors())
  (path / 'model.safetensors').unlink()
  # Unpickling this would raise something else.
  (path / name).write_bytes(b'not a pickle')
  message = _message(huggingface.read_huggingface, path)
  assert message.startswith(
      f'{path} has no model.safetensors, only {name}, a pickle, which can run '
      'any code and is never read; if you trust its maker, convert it in Python')
  assert 'save_pretrained' in message


@pytest.mark.parametrize('changes, words', [
    (dict(model_type='roberta'), "model_type is 'roberta'; only BERT can be"),
    (dict(position_embedding_type='relative_key'),
     "position_embedding_type is 'relative_key', which this BERT cannot have; "
     "expected 'absolute'"),
    (dict(is_decoder=True, add_cross_attention=True),
     'add_cross_attention is True, which this BERT cannot have'),
    (dict(hidden_act='silu'), "hidden_act is 'silu'; expected one of gelu"),
    (dict(num_attention_heads=3), 'hidden_size 8 is not a multiple of num_heads'),
    (dict(intermediate_size=16), 'layer_0/ffn/inner/kernel (8, 12) (expected'),
    (dict(vocab_size=20), 'the vocabulary has 13 pieces, the model 20'),
    (dict(num_hidden_layers=1), 'unknown tensors bert.encoder.layer.1.atten'),
    (dict(num_hidden_layers=3), 'missing layer_2/attention/query/kernel'),
])
def test_other_models_are_refused(tmp_path, changes, words):
  path = write(tmp_path / 'there', numpy_huggingface.random_tensors(), **changes)
  message = _message(huggingface.read_huggingface, path)
  assert words in message and path in message


def test_several_mistakes_are_listed_at_once(tmp_path):
  path = write(tmp_path / 'there', numpy_huggingface.random_tensors(),
               is_decoder=True, hidden_act='silu')
  message = _message(huggingface.read_huggingface, path)
  assert 'is_decoder is True' in message and "'silu'" in message


def test_an_untied_decoder_is_refused(tmp_path):
  tensors = numpy_huggingface.random_tensors()
  tensors['cls.predictions.decoder.weight'] = np.zeros((13, 8), np.float32)
  message = _message(
      huggingface.read_huggingface, write(tmp_path / 'there', tensors))
  assert ('cls.predictions.decoder.weight is not bert.embeddings.word_embeddings'
          '.weight; expected the two to be tied' in message)


def test_unknown_tensors_are_refused(tmp_path):
  tensors = numpy_huggingface.random_tensors()
  tensors['classifier.weight'] = np.zeros((3, 8), np.float32)
  message = _message(
      huggingface.read_huggingface, write(tmp_path / 'there', tensors))
  assert 'unknown tensors classifier.weight; expected those of' in message


def test_broken_files_are_named(tmp_path):
  path = tmp_path / 'there'
  write(path, numpy_huggingface.random_tensors())
  (path / 'model.safetensors').write_bytes(b'x' * 40)
  assert f'{path}/model.safetensors cannot be read' in _message(
      huggingface.read_huggingface, path)
  (path / 'config.json').write_text('{')
  assert f'{path}/config.json is not JSON' in _message(
      huggingface.read_huggingface, path)
  (path / 'config.json').unlink()
  assert f'{path} has no config.json; give the directory of' in _message(
      huggingface.read_huggingface, path)


@pytest.mark.parametrize('shard, words', [
    ('../weights.safetensors', "names '../weights.safetensors'; expected files"),
    ('model.safetensors', 'lacks absent.weight, which model.safetensors.index'),
])
def test_an_index_that_leads_astray_is_refused(tmp_path, shard, words):
  path = tmp_path / 'there'
  write(path, numpy_huggingface.random_tensors())
  (path / 'model.safetensors.index.json').write_text(
      json.dumps({'weight_map': {'absent.weight': shard}}))
  assert words in _message(huggingface.read_huggingface, path)


@pytest.mark.parametrize('architecture, words', [
    (Architecture(num_layers=1, hidden_size=8, num_heads=2, inner_size=8,
                  vocab_size=13, max_positions=10, norm_source_size=6),
     'norm_source_size is 6, a weighted LayerNorm; train the model until'),
    (Architecture(num_layers=1, hidden_size=8, num_heads=2, inner_size=8,
                  vocab_size=13, max_positions=10, family='gpt'),
     "family is 'gpt'; only a BERT can be converted"),
    (Architecture(num_layers=1, hidden_size=8, num_heads=2, head_size=6,
                  inner_size=8, vocab_size=13),
     '2 heads of 6 do not make hidden_size 8'),
])
def test_what_hugging_face_cannot_compute_is_refused(
    tmp_path, architecture, words):
  from official_ext.growth import weight_specs
  weights = {name: np.zeros(spec.shape, np.float32)
             for name, spec in weight_specs(architecture).items()}
  with pytest.raises(ValueError) as error:
    huggingface.write_huggingface(str(tmp_path), weights, architecture)
  assert words in str(error.value)


def test_output_is_all_or_nothing(tmp_path):
  source = write(tmp_path / 'there', numpy_huggingface.random_tensors())
  output = tmp_path / 'output'
  output.mkdir()
  (output / 'mine').write_text('x')
  assert _message(conversion.to_model_garden, source, output) == (
      f'output_dir {output} is there already and is not empty; give a new '
      'directory.')
  assert _message(conversion.to_hugging_face, source, output).startswith(
      f'output_dir {output} is there already')
  assert [file.name for file in output.iterdir()] == ['mine']
  (output / 'mine').unlink()
  conversion.to_model_garden(source, str(output))  # An empty one will do.
  shutil.rmtree(output)
  (tmp_path / 'there/model.safetensors').write_bytes(b'x')
  _message(conversion.to_model_garden, source, output)
  assert sorted(file.name for file in tmp_path.iterdir()) == ['there']
