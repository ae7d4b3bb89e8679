"""What a growth changed, against outputs that NumPy computes."""

import numpy as np
import pytest

from official_ext.analysis import growth_parity
from official_ext.analysis import parity_text
from official_ext.data.tokenizer import build_tokenizer
from official_ext.growth import Architecture
from official_ext.growth import grow
from official_ext.growth import maps_between
from official_ext.growth import weight_specs
from official_ext.modeling.checkpoint_weights import load_model
from tests.growth import numpy_bert
from tests.growth import numpy_gpt

PIECES = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'function',
          'returns', 'a', 'list', 'of', 'value', '##s', '.', 'it', 'is')
LINES = ('the function returns a list of values . it is a list .',
         'values', 'it is the value of a function',
         'a list is a list of values of functions', 'returns it .',
         'the list .', 'it', 'of the function', 'a function .',
         'the value of the function is the value of a list of it')
SMALL = Architecture(num_layers=2, hidden_size=8, num_heads=2, inner_size=12,
                     vocab_size=len(PIECES), max_positions=16)
LARGE = SMALL.replace(num_layers=3, hidden_size=16, num_heads=4, inner_size=24)


@pytest.fixture(name='tokenizer', scope='module')
def _tokenizer():
  return build_tokenizer(PIECES)


def _batches(tokenizer, lines=LINES, seed=0, length=16):
  return [
      {name: tensor.numpy() for name, tensor in features.items()}
      for features in parity_text.batches(
          lines, tokenizer, length=length, seed=seed)]


def test_rows_are_the_lines_with_some_pieces_masked(tokenizer):
  first, second = _batches(tokenizer)
  assert first['input_word_ids'].shape == (8, 16)
  assert len(second['input_word_ids']) == 2
  words = first['unmasked_word_ids']
  assert [PIECES[i] for i in words[0]] == [
      '[CLS]', 'the', 'function', 'returns', 'a', 'list', 'of', 'value', '##s',
      '.', 'it', 'is', 'a', 'list', '.', '[SEP]']
  assert [PIECES[i] for i in words[1][:5]] == [
      '[CLS]', 'value', '##s', '[SEP]', '[PAD]']
  np.testing.assert_array_equal(first['input_mask'], words != 0)
  # Where a row was changed is what there is to predict, and nothing else.
  for row, masked in enumerate(first['input_word_ids']):
    (changed,) = np.nonzero(masked != words[row])
    count = int(first['masked_lm_weights'][row].sum())
    assert set(masked[changed]) == {4}
    np.testing.assert_array_equal(
        first['masked_lm_positions'][row, :count], changed)
    np.testing.assert_array_equal(
        first['masked_lm_ids'][row, :count], words[row, changed])
    pieces = int(first['input_mask'][row].sum()) - 2
    assert count == max(1, round(0.15 * pieces))
    assert changed.min() >= 1 and changed.max() <= pieces


def test_masks_depend_on_the_seed_alone(tokenizer):
  words = [_batches(tokenizer, seed=seed)[0]['input_word_ids']
           for seed in (0, 0, 1)]
  np.testing.assert_array_equal(words[0], words[1])
  assert np.any(words[0] != words[2])


def test_long_rows_are_cut(tokenizer):
  (features, _) = _batches(tokenizer, length=6)
  assert features['input_word_ids'].shape == (8, 6)
  assert PIECES[features['unmasked_word_ids'][0, 5]] == '[SEP]'


def test_lines_of_a_file(tmp_path):
  path = tmp_path / 'text.txt'
  path.write_text('  one \n\n\ntwo\n' + 'more\n' * 500)
  lines = parity_text.read_lines(str(path))
  assert lines[:3] == ['one', 'two', 'more']
  assert len(lines) == parity_text.MAX_LINES
  path.write_text('\n \n')
  with pytest.raises(ValueError, match='has no text; give at least one line'):
    parity_text.read_lines(str(path))
  path.write_bytes(b'\xff\xfe')
  with pytest.raises(ValueError, match='is not UTF-8; give plain text'):
    parity_text.read_lines(str(path))
  path.unlink()
  with pytest.raises(ValueError, match='text.txt is not there; give a text'):
    parity_text.read_lines(str(path))


def _perturbed(weights):
  """Weights that are near others, so that every difference has some size."""
  random = np.random.default_rng(7)
  return {name: array + 0.01 * random.normal(size=array.shape)
          for name, array in weights.items()}


def _bert_outputs(weights, features):
  hidden = []

  def keep(x):
    hidden.append(x)
    return x

  num_layers = sum(name.endswith('ffn/norm/gamma') for name in weights)
  steps = [step for layer in range(num_layers) for step in (layer, keep)]
  logits = numpy_bert.forward(weights, {
      'ids': features['input_word_ids'], 'types': features['input_type_ids'],
      'mask': features['input_mask'],
      'positions': features['masked_lm_positions']}, steps)['masked_lm']
  return hidden, logits


@pytest.mark.parametrize('has_head', [True, False])
def test_a_bert_is_measured_as_numpy_does(tokenizer, has_head):
  weights = numpy_bert.random_weights(weight_specs(SMALL))
  grown = _perturbed(grow(weights, SMALL, LARGE, noise_scale=0))
  if not has_head:
    weights, grown = (
        {name: array for name, array in side.items()
         if not name.startswith('masked_lm')} for side in (weights, grown))
  parity = growth_parity.measure(
      load_model(weights, SMALL), load_model(grown, LARGE),
      maps_between(SMALL, LARGE),
      parity_text.batches(LINES, tokenizer, length=16, seed=0),
      has_head=has_head)
  assert parity.rows == len(LINES)
  if not has_head:
    assert (parity.loss_before is parity.loss_after is parity.logit_difference
            is None)
    weights, grown = (
        {**side, **{name: np.zeros(spec.shape)
                    for name, spec in weight_specs(architecture).items()
                    if name not in side}}
        for side, architecture in ((weights, SMALL), (grown, LARGE)))
  hidden, last, logit, losses, largest = [], [], [], [], []
  for features in _batches(tokenizer):
    if not has_head:
      features['input_word_ids'] = features['unmasked_word_ids']
    there = features['input_mask'] > 0
    before, after = (_bert_outputs(side, features) for side in (weights, grown))
    tile = lambda x: np.tile(x, 2)[there]
    hidden.append([np.abs(tile(a) - b[there]).max()
                   for a, b in zip(before[0], after[0])])
    last.append(np.abs(tile(before[0][-1]) - after[0][-1][there]).max())
    counted = features['masked_lm_weights'] > 0
    logit.append(np.abs(before[1] - after[1])[counted].max())
    largest.append(np.abs(before[1])[counted].max())
    losses += [
        [numpy_bert.cross_entropy(side[1][row, slot], features['masked_lm_ids'][
            row, slot]) for side in (before, after)]
        for row, slot in np.argwhere(counted)]
  close = dict(rtol=1e-3, atol=1e-5)
  np.testing.assert_allclose(
      parity.hidden_differences, np.max(hidden, axis=0), **close)
  np.testing.assert_allclose(parity.last_hidden_difference, max(last), **close)
  # The third layer is a copy of the first: the function is another.
  assert parity.last_hidden_difference > 1 > max(parity.hidden_differences)
  if has_head:
    assert parity.predictions == len(losses)
    np.testing.assert_allclose(parity.logit_difference, max(logit), **close)
    np.testing.assert_allclose(parity.largest_logit, max(largest), **close)
    np.testing.assert_allclose(
        [parity.loss_before, parity.loss_after], np.mean(losses, axis=0),
        **close)


def test_a_gpt_is_measured_as_numpy_does(tokenizer):
  small, large = (
      Architecture(
          family='gpt', num_layers=2, hidden_size=hidden, num_heads=hidden // 4,
          inner_size=hidden * 2, vocab_size=len(PIECES), max_positions=16)
      for hidden in (8, 16))
  weights = numpy_bert.random_weights(weight_specs(small))
  exact = grow(weights, small, large)
  for grown in (exact, _perturbed(exact)):
    parity = growth_parity.measure(
        load_model(weights, small), load_model(grown, large),
        maps_between(small, large),
        parity_text.batches(LINES, tokenizer, length=16, seed=0), has_head=True)
    difference, losses = 0.0, []
    for features in _batches(tokenizer):
      for ids, mask in zip(features['unmasked_word_ids'], features['input_mask']):
        ids = ids[:mask.sum()]
        before, after = (
            numpy_gpt.logits(side, architecture, ids)[:-1]
            for side, architecture in ((weights, small), (grown, large)))
        difference = max(difference, np.abs(before - after).max())
        losses += [
            [numpy_bert.cross_entropy(side[token], ids[token + 1])
             for side in (before, after)] for token in range(len(before))]
    close = dict(rtol=1e-3, atol=1e-4)
    assert parity.predictions == len(losses)
    np.testing.assert_allclose(parity.logit_difference, difference, **close)
    np.testing.assert_allclose(
        [parity.loss_before, parity.loss_after], np.mean(losses, axis=0),
        **close)
    assert parity.hidden_differences == ()
    # The last LayerNorm is shared among the copies, which is no difference.
    assert (parity.last_hidden_difference < 1e-5) == (grown is exact)


def test_not_a_number_is_not_overlooked(tokenizer):
  weights = numpy_bert.random_weights(weight_specs(SMALL))
  broken = {name: array.copy() for name, array in weights.items()}
  broken['layer_1/ffn/norm/beta'][3] = np.nan
  parity = growth_parity.measure(
      load_model(weights, SMALL), load_model(broken, SMALL),
      maps_between(SMALL, SMALL),
      parity_text.batches(LINES[:2], tokenizer, length=16, seed=0),
      has_head=True)
  assert np.isnan(parity.logit_difference)
  assert np.isnan(parity.last_hidden_difference)
