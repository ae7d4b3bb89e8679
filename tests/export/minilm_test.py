"""A real BERT against `transformers`, in both directions.

`make test-huggingface` installs what this needs and runs it.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from official_ext.analysis.parity_text import SENTENCES
from official_ext.data.tokenizer import build_tokenizer
from official_ext.export import conversion
from official_ext.modeling import checkpoint_weights
from official_ext.modeling.checkpoint_source import find_checkpoint
from tests.export import minilm

pytestmark = pytest.mark.slow
torch = pytest.importorskip('torch', reason='make test-huggingface')
transformers = pytest.importorskip(
    'transformers', reason='make test-huggingface')

TOLERANCE = 1e-5
PIECES = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'b', 'c', 'd', 'e']


@pytest.fixture(name='converted', scope='module')
def _converted(tmp_path_factory):
  path = tmp_path_factory.mktemp('minilm') / 'converted'
  conversion.to_model_garden(minilm.directory(), str(path))
  return str(path)


@pytest.fixture(name='features', scope='module')
def _features(converted):
  """Our tokenizer's rows of all sentences, padded to the longest."""
  return minilm.features(converted, SENTENCES)


def _theirs(model, features):
  with torch.no_grad():
    return model.eval()(
        input_ids=torch.tensor(features['input_word_ids'].numpy()),
        attention_mask=torch.tensor(features['input_mask'].numpy()),
        token_type_ids=torch.tensor(features['input_type_ids'].numpy()),
        output_hidden_states=True)


def _assert_hidden_states_are_close(ours, theirs, features):
  """Of every layer, wherever there is a token."""
  there = features['input_mask'].numpy().astype(bool)
  largest = 0.0
  for mine, other in zip(ours['encoder_outputs'], theirs.hidden_states[1:],
                         strict=True):
    difference = np.abs(mine.numpy() - other.numpy())[there]
    largest = max(largest, difference.max())
  print(f'largest difference {largest:.2e}')
  assert largest < TOLERANCE


def test_the_tokenizer_reads_alike(converted):
  source = find_checkpoint(converted)
  assert source.lower_case
  tokenizer = build_tokenizer(
      source.vocabulary_file, lower_case=source.lower_case)
  other = transformers.BertTokenizer.from_pretrained(minilm.directory())
  ours = tokenizer(tf.constant(SENTENCES)).to_list()
  assert ours == [other(text)['input_ids'][1:-1] for text in SENTENCES]


def test_hidden_states_of_the_converted_model(converted, features):
  weights, architecture = checkpoint_weights.read_checkpoint(converted)
  assert (architecture.num_layers, architecture.hidden_size,
          architecture.num_heads, architecture.head_size,
          architecture.vocab_size) == (6, 384, 12, 32, 30522)
  assert architecture.activation == 'gelu_erf'
  assert not any(name.startswith(('masked_lm', 'next')) for name in weights)
  ours = checkpoint_weights.load_model(weights, architecture).encoder_network(
      features)
  theirs = _theirs(
      transformers.BertModel.from_pretrained(minilm.directory()), features)
  _assert_hidden_states_are_close(ours, theirs, features)
  np.testing.assert_allclose(
      ours['pooled_output'], theirs.pooler_output, atol=TOLERANCE)


def test_transformers_loads_what_is_written_back(converted, features, tmp_path):
  conversion.to_hugging_face(converted, str(tmp_path / 'back'))
  model, report = transformers.BertModel.from_pretrained(
      str(tmp_path / 'back'), output_loading_info=True)
  assert not any(report.values()), report
  ours = checkpoint_weights.load_model(
      *checkpoint_weights.read_checkpoint(converted)).encoder_network(features)
  _assert_hidden_states_are_close(ours, _theirs(model, features), features)
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / 'back'))
  first = transformers.BertTokenizer.from_pretrained(minilm.directory())
  assert ([tokenizer(text)['input_ids'] for text in SENTENCES]
          == [first(text)['input_ids'] for text in SENTENCES])


@pytest.mark.parametrize('hidden_act', ['gelu', 'gelu_new', 'relu'])
@pytest.mark.parametrize('name', [
    'BertModel', 'BertForPreTraining', 'BertForMaskedLM',
    'BertForNextSentencePrediction'])
def test_every_class_of_theirs_both_ways(tmp_path, name, hidden_act):
  torch.manual_seed(0)
  config = transformers.BertConfig(
      vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=2,
      num_attention_heads=4, intermediate_size=24, max_position_embeddings=12,
      hidden_act=hidden_act, layer_norm_eps=1e-5, initializer_range=0.3)
  model = getattr(transformers, name)(config)
  model.save_pretrained(str(tmp_path / 'there'))
  (tmp_path / 'there/vocab.txt').write_text('\n'.join(PIECES) + '\n')
  conversion.to_model_garden(str(tmp_path / 'there'), str(tmp_path / 'here'))
  random = np.random.default_rng(0)
  features = {
      'input_word_ids': tf.constant(random.integers(len(PIECES), size=(3, 9))),
      'input_type_ids': tf.constant(random.integers(2, size=(3, 9))),
      'input_mask': tf.constant([[1] * 9, [1] * 9, [1] * 6 + [0] * 3])}
  ours = checkpoint_weights.load_model(
      *checkpoint_weights.read_checkpoint(str(tmp_path / 'here')))
  got = ours({**features, 'masked_lm_positions': tf.tile(
      tf.range(9)[None], [3, 1])})
  theirs = _theirs(model, features)
  _assert_hidden_states_are_close(got, theirs, features)
  heads = {
      'BertForPreTraining': {'mlm_logits': 'prediction_logits',
                             'next_sentence': 'seq_relationship_logits'},
      'BertForMaskedLM': {'mlm_logits': 'logits'},
      'BertForNextSentencePrediction': {'next_sentence': 'logits'},
      'BertModel': {'pooled_output': 'pooler_output'}}[name]
  for mine, other in heads.items():
    np.testing.assert_allclose(
        got[mine], theirs[other].numpy(), atol=TOLERANCE, rtol=1e-5)

  conversion.to_hugging_face(str(tmp_path / 'here'), str(tmp_path / 'back'))
  assert json.loads((tmp_path / 'back/config.json').read_text())[
      'architectures'] == [name]
  back, report = getattr(transformers, name).from_pretrained(
      str(tmp_path / 'back'), output_loading_info=True)
  assert not any(report.values()), report
  for (key, first), (_, second) in zip(
      model.state_dict().items(), back.state_dict().items(), strict=True):
    assert torch.equal(first, second), key
