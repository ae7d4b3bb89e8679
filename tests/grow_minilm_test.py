"""A real BERT of 6 layers, 384 wide, grown in width.

`make test-huggingface` installs what this needs and runs it.
"""

import subprocess
import sys

import numpy as np
import pytest

from official_ext.analysis.parity_text import SENTENCES
from official_ext.export import conversion
from official_ext.modeling import checkpoint_weights
from tests.export import minilm

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4


@pytest.fixture(name='source', scope='module')
def _source(tmp_path_factory):
  path = tmp_path_factory.mktemp('minilm') / 'source'
  conversion.to_model_garden(minilm.directory(), str(path))
  return str(path)


@pytest.fixture(name='hidden', scope='module')
def _hidden(source):
  """Every layer's states of the source, and where there are tokens."""
  return _hidden_states(source, source)


def _hidden_states(path, source):
  """[layer][token, hidden] over all tokens of the sentences."""
  features = minilm.features(source, SENTENCES)
  model = checkpoint_weights.load_model(
      *checkpoint_weights.read_checkpoint(path))
  there = features['input_mask'].numpy().astype(bool)
  return [layer.numpy()[there] for layer in
          model.encoder_network(features)['encoder_outputs']]


def _grow(source, output_dir, heads, *flags):
  settings = dict(num_layers=6, hidden_size=32 * heads, num_heads=heads,
                  inner_size=128 * heads)
  done = subprocess.run(
      [sys.executable, '-m', 'official_ext.grow', f'--source={source}',
       '--target_gin_file=models/bert_base.gin', f'--output_dir={output_dir}',
       *(f'--gin_params=model.{name} = {value}'
         for name, value in settings.items()), *flags],
      capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  print(done.stdout)
  return done.stdout


@pytest.mark.parametrize('heads, flags', [
    (24, ()), (18, ('--weighted_norm',))], ids=['768', '576 weighted'])
def test_hidden_states_are_duplicated(source, hidden, tmp_path, heads, flags):
  output = _grow(source, tmp_path / 'grown', heads, *flags)
  assert 'width: exact' in output and 'please report' not in output
  grown = _hidden_states(str(tmp_path / 'grown'), source)
  units = np.arange(32 * heads) % 384
  assert len(grown) == len(hidden) == 6
  for before, after in zip(hidden, grown):
    np.testing.assert_allclose(after, before[:, units], rtol=0, atol=TOLERANCE)
  # The copies of inner units have become different ones.
  kernel = checkpoint_weights.read_checkpoint(
      str(tmp_path / 'grown'))[0]['layer_0/ffn/output/kernel']
  assert not np.allclose(kernel[0], kernel[1536])


def test_an_odd_width_without_weighted_norms_says_what_it_costs(
    source, tmp_path):
  output = _grow(source, tmp_path / 'grown', 18)
  assert 'width: not exact' in output
  assert 'hidden_size 576 is no multiple of 384' in output


def test_aki_is_reported_as_not_preserving(source, hidden, tmp_path):
  output = _grow(source, tmp_path / 'grown', 24, '--width=aki')
  assert 'width: not exact (aki does not preserve the function' in output
  grown = _hidden_states(str(tmp_path / 'grown'), source)
  jump = max(np.abs(after - np.tile(before, 2)).max()
             for before, after in zip(hidden, grown))
  assert jump > 0.1
  # What is printed is what is.
  assert f'{jump:.2f} at most after the lowest 6 layers' in output


def test_transformers_reads_the_grown_model_alike(source, hidden, tmp_path):
  torch = pytest.importorskip('torch', reason='make test-huggingface')
  transformers = pytest.importorskip(
      'transformers', reason='make test-huggingface')
  _grow(source, tmp_path / 'grown', 24)
  conversion.to_hugging_face(str(tmp_path / 'grown'), str(tmp_path / 'there'))
  model = transformers.BertModel.from_pretrained(str(tmp_path / 'there'))
  features = minilm.features(source, SENTENCES)
  with torch.no_grad():
    outputs = model.eval()(
        input_ids=torch.tensor(features['input_word_ids'].numpy()),
        attention_mask=torch.tensor(features['input_mask'].numpy()),
        output_hidden_states=True)
  there = features['input_mask'].numpy().astype(bool)
  for before, after in zip(hidden, outputs.hidden_states[1:], strict=True):
    np.testing.assert_allclose(
        after.numpy()[there], np.tile(before, 2), rtol=0, atol=TOLERANCE)
