"""Every row of the tables of growth rules keeps what it has to keep."""

import numpy as np
import pytest

from official_ext import growth
from tests.growth import rule_properties
from tests.growth.rule_formulas import DEPTH_FORMULAS
from tests.growth.rule_formulas import WIDTH_FORMULAS
from tests.growth.rule_properties import SMALL
from tests.growth.rule_properties import WIDE

FAMILIES = sorted(SMALL)
both_families = pytest.mark.parametrize('family', FAMILIES)
every_width = pytest.mark.parametrize('width', growth.WIDTH_RULES)
every_depth = pytest.mark.parametrize('depth', growth.DEPTH_RULES)


@both_families
@every_width
def test_a_width_rule_keeps_what_any_has_to(width, family):
  rule_properties.check_width_rule(width, family)


@both_families
@every_depth
def test_a_depth_rule_keeps_what_any_has_to(depth, family):
  rule_properties.check_depth_rule(depth, family)


@both_families
@pytest.mark.parametrize('hidden_size', [4, 7, 8])
@every_width
def test_a_width_rule_follows_its_formula(width, hidden_size, family):
  source = SMALL[family]
  target = source.replace(**{**WIDE, 'hidden_size': hidden_size})
  weights, _ = rule_properties.make(source)
  grown = growth.grow(weights, source, target, width=width, noise_scale=0.0)
  WIDTH_FORMULAS[width](weights, grown, source, target)


@pytest.mark.parametrize('num_layers', [5, 7])
@pytest.mark.parametrize('rule', DEPTH_FORMULAS, ids=' '.join)
def test_a_depth_rule_follows_its_formula(rule, num_layers):
  depth, family = rule
  rule_properties.check_order_of_blocks(
      SMALL[family], SMALL[family].replace(num_layers=num_layers, inner_size=6),
      DEPTH_FORMULAS[rule][num_layers], depth=depth)


@both_families
def test_what_does_not_preserve_has_a_formula(family):
  source = SMALL[family]
  changing = {
      width for width in growth.WIDTH_RULES
      if not growth.weight_growth_preserves(
          source, source.replace(**WIDE), width=width)}
  assert changing >= {'aki', 'aki_literal', 'direct_copy'}
  assert changing <= set(WIDTH_FORMULAS)
  changing = {
      (depth, family) for depth in growth.DEPTH_RULES
      if not growth.weight_growth_preserves(
          source, source.replace(num_layers=5), depth=depth)}
  assert changing <= set(DEPTH_FORMULAS)
  assert (('identity', family) in changing) == (family == 'bert')


@both_families
@every_depth
@every_width
def test_both_at_once_are_width_then_depth(width, depth, family):
  source = SMALL[family].replace(ffn_rank=2)
  wide = source.replace(**{**WIDE, 'hidden_size': 7}, ffn_rank=None)
  target = wide.replace(num_layers=7)
  rules = dict(width=width, depth=depth, seed=5)
  weights, _ = rule_properties.make(source)
  stepwise = growth.grow(weights, source, wide, noise_scale=0.0, **rules)
  stepwise = growth.grow(stepwise, wide, target, noise_scale=0.0, **rules)
  rule_properties.assert_same(stepwise, growth.grow(
      weights, source, target, noise_scale=0.0, **rules), rtol=1e-14)
  given = dict(weights=weights, **rules)
  squares = {name: array ** 2 for name, array in weights.items()}
  moments = growth.grow_moments(weights, squares, source, wide, **given)
  moments = growth.grow_moments(*moments, wide, target, **rules)
  together = growth.grow_moments(weights, squares, source, target, **given)
  for one, other in zip(moments, together):
    rule_properties.assert_same(one, other, rtol=1e-14)


PRESERVING = {
    'multiple': (dict(num_layers=1), WIDE),
    'not a multiple, weighted': (
        dict(num_layers=1), dict(WIDE, hidden_size=7, norm_source_size=4)),
    'weighted still': (
        dict(num_layers=1, hidden_size=7, head_size=3, norm_source_size=4),
        dict(WIDE, hidden_size=7, norm_source_size=4)),
    'weighted by equal weights': (
        dict(num_layers=1, hidden_size=8, head_size=3, norm_source_size=4),
        dict(WIDE, norm_source_size=None)),
    'factorised still': (dict(num_layers=1, ffn_rank=3), WIDE),
}


@both_families
@pytest.mark.parametrize('case', PRESERVING)
@every_width
def test_what_is_declared_exact_is_so_with_its_moments(width, case, family):
  before, after = PRESERVING[case]
  source = SMALL[family].replace(**before)
  target = source.replace(**after)
  if (growth.growth_mistakes(source, target, width=width)
      or not growth.weight_growth_preserves(source, target, width=width)):
    assert width in ('direct_copy', 'net2net')
    return
  rule_properties.check_parity(source, target, width=width)
  rule_properties.check_moments(source, target, width=width)


@both_families
@pytest.mark.parametrize('activation', ['gelu_tanh', 'gelu_erf', 'relu'])
def test_factors_multiplied_out_while_growing_are_exact(activation, family):
  source = SMALL[family].replace(ffn_rank=3, activation=activation)
  target = source.replace(**WIDE, ffn_rank=None)
  rule_properties.check_parity(source, target)
  rule_properties.check_order_of_blocks(
      source, target.replace(num_layers=5), (0, 1, 2, 0, 1))


@both_families
@pytest.mark.parametrize('source_changes, target_changes', [
    ({}, dict(hidden_size=7)),
    (dict(hidden_size=7, norm_source_size=4), dict(norm_source_size=None)),
    (dict(hidden_size=7, norm_source_size=4),
     dict(hidden_size=9, norm_source_size=7)),
])
def test_changed_statistics_are_declared(source_changes, target_changes, family):
  source = SMALL[family].replace(**source_changes, head_size=3)
  target = source.replace(**target_changes, head_size=3)
  assert not growth.weight_growth_preserves(source, target)
  weights, inputs = rule_properties.make(source)
  grown = growth.grow(weights, source, target, noise_scale=0.0)
  before, after = (
      rule_properties.outputs(*model, inputs)
      for model in ((weights, source), (grown, target)))
  assert growth.max_difference(before, after) > 1e-3


@pytest.mark.parametrize('width', ['aki', 'aki_literal'])
def test_layers_of_which_one_is_the_only_one_preserve_under_aki(width):
  source = SMALL['bert'].replace(num_layers=1)
  rule_properties.check_parity(source, source.replace(**WIDE), width=width)


def test_only_aki_of_whole_units_leaves_the_residual_stream_alone():
  deep = SMALL['bert']
  wider = deep.replace(hidden_size=8, head_size=3)
  rule_properties.check_parity(deep, wider, width='aki')
  assert not growth.weight_growth_preserves(deep, wider, width='aki_literal')
  weights, inputs = rule_properties.make(deep)
  grown = growth.grow(weights, deep, wider, width='aki_literal', noise_scale=0.0)
  assert growth.max_difference(
      rule_properties.outputs(weights, deep, inputs),
      rule_properties.outputs(grown, wider, inputs)) > 1e-3


def test_fresh_entries_are_those_of_a_new_model():
  source = SMALL['bert'].replace(hidden_size=40, head_size=3)
  weights, _ = rule_properties.make(source)
  target = source.replace(hidden_size=200, head_size=3)
  for stddev in (0.02, 0.5):
    fresh = growth.grow(
        weights, source, target, width='direct_copy', initializer_stddev=stddev
    )['pooler/kernel'][40:].ravel() / stddev
    assert np.abs(fresh).max() <= 2
    # Of a normal distribution that is cut off at two standard deviations.
    assert abs(fresh.std() - 0.8796) < 0.01 and abs(fresh.mean()) < 0.01
    assert abs((np.abs(fresh) < 1).mean() - 0.6827 / 0.9545) < 0.01


def test_moments_of_fresh_units_do_not_overshoot():
  source = SMALL['bert']
  target = source.replace(inner_size=6)
  weights, _ = rule_properties.make(source)
  squares = {name: array ** 2 for name, array in weights.items()}
  first, second = growth.grow_moments(
      weights, squares, source, target, width='direct_copy')
  name = 'layer_1/ffn/output/kernel'
  np.testing.assert_array_equal(first[name][:4], weights[name])
  np.testing.assert_array_equal(first[name][4:], 0)
  np.testing.assert_array_equal(second[name][:4], squares[name])
  for row in second[name][4:]:
    np.testing.assert_allclose(row, squares[name].mean(0), rtol=1e-14)


def test_moments_of_zeroed_weights_do_not_overshoot():
  source = SMALL['gpt']
  weights, _ = rule_properties.make(source)
  squares = {name: array ** 2 for name, array in weights.items()}
  first, second = growth.grow_moments(
      weights, squares, source, source.replace(num_layers=4), depth='identity')
  name = 'ffn/output/kernel'  # Layer 1 is the one behind layer 0.
  np.testing.assert_array_equal(first[f'layer_1/{name}'], 0)
  np.testing.assert_array_equal(
      second[f'layer_1/{name}'], squares[f'layer_0/{name}'])
  np.testing.assert_array_equal(
      first['layer_1/ffn/inner/kernel'], weights['layer_0/ffn/inner/kernel'])
