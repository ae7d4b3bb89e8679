"""Growing weights: exact operators keep the logits, others follow a formula."""

import subprocess
import sys

import numpy as np
import pytest

from official_ext import growth
from tests.growth import numpy_bert

SMALL = growth.Architecture(
    num_layers=2, hidden_size=4, num_heads=2, head_size=3, inner_size=8,
    vocab_size=11, max_positions=8)

EXACT = {
    'ffn sharing 4 -> 1': (SMALL.replace(ffn_sharing=4), SMALL),
    'ffn sharing 4 -> 2': (
        SMALL.replace(ffn_sharing=4), SMALL.replace(ffn_sharing=2)),
    'inner 8 -> 13': (SMALL, SMALL.replace(inner_size=13)),
    'heads 2 -> 5': (SMALL, SMALL.replace(num_heads=5, head_size=3)),
    'hidden 4 -> 12': (SMALL, SMALL.replace(hidden_size=12, head_size=3)),
    'all widths': (
        SMALL.replace(ffn_sharing=2),
        SMALL.replace(hidden_size=8, num_heads=3, head_size=3, inner_size=24)),
}


@pytest.mark.parametrize('noise_scale', [0.0, 0.01, 0.3])
@pytest.mark.parametrize('dtype,tolerance', [
    (np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize('case', EXACT)
def test_widening_keeps_the_logits(case, dtype, tolerance, noise_scale):
  source, target = EXACT[case]
  assert growth.preserves_function(source, target)
  weights = numpy_bert.random_weights(growth.weight_specs(source), dtype=dtype)
  inputs = numpy_bert.random_inputs(source)
  grown = growth.grow(weights, source, target, noise_scale=noise_scale)
  assert {name: array.shape for name, array in grown.items()} == {
      name: spec.shape for name, spec in growth.weight_specs(target).items()}
  assert {array.dtype for array in grown.values()} == {np.dtype(dtype)}
  report = growth.compare(
      numpy_bert.forward(weights, inputs, range(2)),
      numpy_bert.forward(grown, inputs, range(2)), tolerance=tolerance)
  assert report.holds, report


@pytest.mark.parametrize('noise_scale', [0.0, 0.01])
def test_growth_is_repeatable_and_needs_no_order(noise_scale):
  source, target = EXACT['all widths']
  weights = numpy_bert.random_weights(growth.weight_specs(source))
  backwards = dict(reversed(weights.items()))
  first = growth.grow(weights, source, target, noise_scale=noise_scale)
  second = growth.grow(backwards, source, target, noise_scale=noise_scale)
  other = growth.grow(weights, source, target, noise_scale=noise_scale, seed=1)
  assert list(first) == list(second) == list(growth.weight_specs(target))
  for name in first:
    np.testing.assert_array_equal(first[name], second[name], err_msg=name)
  name = 'layer_0/ffn/output/kernel'
  assert np.array_equal(first[name], other[name]) == (noise_scale == 0)


def test_nothing_is_shared_with_the_source():
  weights = numpy_bert.random_weights(growth.weight_specs(SMALL))
  grown = growth.grow(weights, SMALL, SMALL)
  for name in weights:
    np.testing.assert_array_equal(grown[name], weights[name])
    assert not np.shares_memory(grown[name], weights[name])


@pytest.mark.parametrize('depth, layers', [
    ('append', (0, 1, 2, 0, 1)), ('top', (0, 1, 2, 1, 2))])
def test_depth_with_everything_else_follows_its_formula(depth, layers):
  source = SMALL.replace(num_layers=3, ffn_sharing=4, query_pool_size=2)
  target = SMALL.replace(num_layers=5)
  weights = numpy_bert.random_weights(growth.weight_specs(source))
  grown = growth.grow(weights, source, target, depth=depth)
  inputs = numpy_bert.random_inputs(source)
  # The grown model is the small one with its blocks run in another order.
  assert growth.compare(
      numpy_bert.forward(weights, inputs, layers),
      numpy_bert.forward(grown, inputs, range(5)), tolerance=1e-12).holds
  assert not growth.preserves_function(source, target)
  assert not growth.weight_growth_preserves(source, target)


def test_every_refusal_is_listed_at_once():
  source = SMALL.replace(num_layers=4)
  target = growth.Architecture(
      num_layers=3, hidden_size=6, num_heads=1, head_size=2, inner_size=4,
      vocab_size=12, max_positions=9, query_pool_size=2, ffn_rank=2,
      sequence_length=7)
  weights = numpy_bert.random_weights(growth.weight_specs(source))
  weights['pooler/kernal'] = weights.pop('pooler/kernel')
  weights['pooler/bias'] = np.zeros(5)
  with pytest.raises(growth.GrowthError) as caught:
    growth.grow(weights, source, target, depth='sideways', width='slim',
                noise_scale=-1, initializer_stddev=np.nan)
  message = str(caught.value)
  assert '\n' not in message
  for part in (
      'noise_scale is -1; give a number of at least 0',
      'initializer_stddev is nan; give a number of at least 0',
      "depth 'sideways' is unknown; choose one of ['append', 'identity', "
      "'interleave', 'middle', 'top']",
      "width 'slim' is unknown; choose one of ['aki', 'aki_literal', "
      "'direct_copy', 'fpi', 'net2net']",
      'num_layers shrinks from 4 to 3; give at least 4',
      'num_heads shrinks from 2 to 1; give at least 2',
      'stored_inner_size shrinks from 8 to 4; give at least 8',
      'sequence_length shrinks from 8 to 7; give at least 8',
      'vocab_size changes from 11 to 12; keep 11',
      'max_positions changes from 8 to 9; keep 8',
      'head_size changes from 3 to 2; keep 3',
      'query_pool_size rises from 1 to 2, which is a smaller model',
      'ffn_rank goes from None to 2, which is a smaller model; give None',
      'missing pooler/kernel, unknown pooler/kernal',
      'pooler/bias (5,) (expected (4,))'):
    assert part in message


@pytest.mark.parametrize('seed', [-1, 1.5])
def test_a_seed_of_another_kind_is_refused(seed):
  weights = numpy_bert.random_weights(growth.weight_specs(SMALL))
  target = SMALL.replace(inner_size=9)
  for grow in (
      lambda: growth.grow(weights, SMALL, target, seed=seed),
      lambda: growth.grow_moments(weights, weights, SMALL, target, seed=seed),
      lambda: growth.maps_between(SMALL, target, width='net2net', seed=seed)):
    with pytest.raises(growth.GrowthError) as caught:
      grow()
    assert str(caught.value) == (
        f'Growth: seed is {seed}; give a whole number of at least 0.')


def test_moments_of_another_model_are_refused_on_both_sides():
  first = numpy_bert.random_weights(growth.weight_specs(SMALL))
  second = dict(first)
  del second['embeddings/word']
  first['stray'] = np.zeros(3)
  with pytest.raises(growth.GrowthError) as caught:
    growth.grow_moments(first, second, SMALL, SMALL)
  assert 'first moment names do not match' in str(caught.value)
  assert 'missing none, unknown stray' in str(caught.value)
  assert 'second moment names do not match' in str(caught.value)
  assert 'missing embeddings/word, unknown none' in str(caught.value)


def test_operators_are_described():
  source = SMALL.replace(num_layers=1, ffn_sharing=4, query_pool_size=2)
  assert growth.describe_operators(source, SMALL) == [
      'ffn_sharing 4 -> 1', 'depth 1 -> 2 (append)', 'query_pool 2 -> 1']
  assert growth.describe_operators(SMALL, SMALL) == []
  wide = SMALL.replace(
      hidden_size=6, num_heads=3, head_size=3, inner_size=9, num_layers=3,
      norm_source_size=4)
  assert growth.describe_operators(
      SMALL.replace(ffn_rank=2), wide, width='aki', depth='top') == [
          'ffn_rank 2 -> None', 'hidden 4 -> 6 (aki)', 'weighted_norm None -> 4',
          'heads 2 -> 3 (aki)', 'inner 8 -> 9 (aki)', 'depth 2 -> 3 (top)']
  assert growth.describe_operators(
      SMALL.replace(ffn_sharing=2), SMALL, width='net2net') == [
          'ffn_sharing 2 -> 1 (net2net)']
  pooled = SMALL.replace(query_pool_size=2)
  assert not growth.preserves_function(pooled, SMALL)
  assert growth.weight_growth_preserves(pooled, SMALL)


@pytest.mark.parametrize('rules', [growth.WIDTH_RULES, growth.DEPTH_RULES])
def test_every_rule_says_what_it_does(rules):
  for name, rule in rules.items():
    for text in (rule.summary, rule.preserves):
      assert text and '\n' not in text and not text.endswith('.'), name


@pytest.mark.parametrize('before, after, width, message', [
    (dict(ffn_rank=3), dict(ffn_rank=2), 'fpi',
     'ffn_rank changes from 3 to 2; keep 3, or give None to multiply out'),
    (dict(ffn_rank=3), dict(inner_size=9), 'aki',
     "width 'aki' takes feed-forward units of other layers, whose factors of "
     'ffn_rank 3 do not fit; give ffn_rank None'),
    (dict(ffn_rank=3), dict(inner_size=9), 'aki_literal',
     "width 'aki_literal' takes feed-forward units of other layers, whose "
     'factors of ffn_rank 3 do not fit; give ffn_rank None'),
    (dict(ffn_rank=3), dict(hidden_size=8), 'aki_literal',
     "width 'aki_literal' takes feed-forward units of other layers, whose "
     'factors of ffn_rank 3 do not fit; give ffn_rank None'),
    (dict(), dict(hidden_size=6, norm_source_size=5), 'fpi',
     'norm_source_size is 5, but the model grows from hidden_size 4; give 4'),
    (dict(hidden_size=6), dict(norm_source_size=3), 'fpi',
     'norm_source_size changes from None to 3 while hidden_size stays 6; give '
     'None'),
    (dict(), dict(hidden_size=6, norm_source_size=4), 'direct_copy',
     "norm_source_size 4 counts copies taken in turn, but width 'direct_copy' "
     "takes others; use 'fpi' or give None"),
    (dict(), dict(activation='relu'), 'fpi',
     'activation changes from gelu_tanh to relu; keep gelu_tanh'),
    (dict(), dict(norm_epsilon=1e-5), 'fpi',
     'norm_epsilon changes from 1e-12 to 1e-05; keep 1e-12'),
    # Nothing else is said, though more differs.
    (dict(), dict(family='gpt', type_vocab_size=None, norm_epsilon=None), 'fpi',
     'Growth: family changes from bert to gpt; keep bert.'),
])
def test_what_no_rule_reaches_is_refused(before, after, width, message):
  source = SMALL.replace(**before, head_size=3)
  target = source.replace(**after, head_size=3)
  with pytest.raises(growth.GrowthError) as caught:
    growth.maps_between(source, target, width=width)
  assert message in str(caught.value)
  with pytest.raises(growth.GrowthError):
    growth.weight_growth_preserves(source, target, width=width)


def test_what_changes_the_function_is_said_from_the_rows():
  wide = SMALL.replace(hidden_size=6, head_size=3)
  assert growth.function_changes(SMALL, wide) == [
      'LayerNorm statistics: hidden_size 4 -> 6 copies some units more often '
      'than others; a norm_source_size of 4 would make up for it where copies '
      'are taken in turn']
  weighted = wide.replace(norm_source_size=4)
  assert growth.function_changes(SMALL, weighted) == []
  assert growth.function_changes(weighted, wide) == [
      'LayerNorm statistics: hidden_size 6 -> 6 with norm_source_size 4 -> None '
      'weighs units in another way']
  pooled = SMALL.replace(query_pool_size=2)
  target = SMALL.replace(inner_size=9, num_layers=3)
  assert growth.function_changes(
      pooled, target, width='aki', depth='identity') == [
          "width 'aki': new heads and feed-forward units come from the layer "
          'above (bert2BERT, AKI); it does not preserve the function, unless '
          'only the residual stream is widened',
          "depth 'identity': every layer is followed by layers that add zero "
          "(Net2Net, deeper); it preserves a GPT's function; a BERT normalises "
          'once more',
          'query_pool_size 2 -> 1: layer 0 sees other queries']
  assert len(growth.weight_growth_changes(
      pooled, target, width='aki', depth='identity')) == 2


@pytest.mark.parametrize('missing', [
    'pooler', 'masked_lm', 'next_sentence'])
def test_a_head_is_optional_as_a_whole(missing):
  target = SMALL.replace(num_layers=3)
  names = growth.weight_specs(target)
  fewer = growth.weight_specs(target, **{f'has_{missing}': False})
  assert list(fewer) == [
      name for name in names if not name.startswith(f'{missing}/')]
  assert len(fewer) < len(names)
  weights = numpy_bert.random_weights(
      growth.weight_specs(SMALL, **{f'has_{missing}': False}))
  assert list(growth.grow(weights, SMALL, target)) == list(fewer)


def test_parity_never_hides_a_nan():
  report = growth.compare(
      {'a': np.ones(2), 'b': np.array([1.0, np.nan]), 'c': np.ones(2)},
      {'a': np.zeros(2), 'b': np.ones(2), 'c': np.zeros(2)}, tolerance=9.0)
  assert report.where == 'b' and not report.holds
  assert growth.max_difference(np.array([1.0, 4.0]), np.array([1.0, 2.0])) == 2
  with pytest.raises(ValueError, match="outputs \\['a'\\] against \\['b'\\]"):
    growth.compare({'a': np.ones(1)}, {'b': np.ones(1)}, tolerance=0.0)
  with pytest.raises(ValueError, match=r'shapes \(1,\) and \(2,\)'):
    growth.max_difference(np.ones(1), np.ones(2))


def test_growth_and_schedules_do_not_load_tensorflow():
  code = ('import sys, time, numpy; start = time.process_time()\n'
          'import official_ext.growth, official_ext.schedules\n'
          'assert time.process_time() - start < 0.5\n'
          'assert "tensorflow" not in sys.modules\n'
          'assert "official" not in sys.modules')
  subprocess.run([sys.executable, '-c', code], check=True)
