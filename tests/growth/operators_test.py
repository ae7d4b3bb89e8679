"""Maps compose: a chain is a loop, and one growth is many small ones."""

import numpy as np
import pytest

from official_ext import growth
from official_ext.growth import operators
from official_ext.growth import transfer
from tests.growth import numpy_bert

SOURCE = growth.Architecture(
    num_layers=3, hidden_size=4, num_heads=2, head_size=3, inner_size=8,
    vocab_size=7, max_positions=5, ffn_sharing=4, query_pool_size=2)
TARGET = growth.Architecture(
    num_layers=5, hidden_size=8, num_heads=5, head_size=3, inner_size=8,
    vocab_size=7, max_positions=5)


def assert_same(first, second):
  assert list(first) == list(second)
  for name in first:
    np.testing.assert_allclose(
        first[name], second[name], rtol=1e-14, atol=0, err_msg=name)


@pytest.mark.parametrize('depth', growth.DEPTH_RULES)
def test_chain_equals_a_hand_written_loop(depth):
  steps = (operators.deepen(depth), operators.widen_heads(),
           operators.widen_residual(), operators.lengthen(),
           operators.widen_inner())
  weights = numpy_bert.random_weights(growth.weight_specs(SOURCE))
  looped, architecture = weights, SOURCE
  for step in steps:
    reached = step.reach(architecture, TARGET)
    looped = transfer.grow_weights(
        looped, growth.weight_specs(reached), step.maps(architecture, reached))
    architecture = reached
  chained = growth.chain(*steps)
  assert chained.reach(SOURCE, TARGET) == architecture == TARGET
  assert_same(looped, transfer.grow_weights(
      weights, growth.weight_specs(TARGET), chained.maps(SOURCE, TARGET)))


@pytest.mark.parametrize('depth', growth.DEPTH_RULES)
def test_together_equals_one_at_a_time(depth):
  weights = numpy_bert.random_weights(growth.weight_specs(SOURCE))
  options = dict(depth=depth, noise_scale=0.0)
  stepwise, architecture = weights, SOURCE
  for changes in ({'query_pool_size': 1}, {'num_layers': 5}, {'ffn_sharing': 1}):
    reached = architecture.replace(**changes)
    stepwise = growth.grow(stepwise, architecture, reached, **options)
    architecture = reached
  assert_same(stepwise, growth.grow(weights, SOURCE, architecture, **options))


def test_shares_multiply_when_maps_follow_each_other():
  first = growth.UnitMap((0, 0))
  composed = first.then(growth.UnitMap((0, 1, 1)))
  assert composed.sources == (0, 0, 0)
  assert composed.shares == (0.5, 0.25, 0.25)


@pytest.mark.parametrize('sources, shares, message', [
    ((), None, 'sources is empty'),
    ((0, 2), None, 'old unit 1 has no copy'),
    ((0, 0), (0.5,), '1 shares for 2 units'),
    ((0, 0), (0.5, 0.6), 'add up to .1.1.; each has to be 1'),
])
def test_unit_maps_that_lose_the_function_are_refused(sources, shares, message):
  with pytest.raises(ValueError, match=message):
    growth.UnitMap(sources, shares)


def test_maps_of_different_sizes_do_not_follow_each_other():
  with pytest.raises(ValueError, match='ends at 2 units, the second starts from 3'):
    growth.UnitMap((0, 1)).then(growth.UnitMap.identity(3))


@pytest.mark.parametrize('depth, layers, new_layers, expected', [
    ('append', 3, 6, (0, 1, 2, 0, 1, 2)),
    ('append', 5, 12, (0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1)),
    ('top', 5, 12, (0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 3, 4)),
    ('top', 3, 4, (0, 1, 2, 2)),
])
def test_layer_maps(depth, layers, new_layers, expected):
  assert growth.layer_map(depth, layers, new_layers) == expected


def test_layer_maps_refuse():
  with pytest.raises(growth.GrowthError) as caught:
    growth.layer_map('sideways', 3, 2)
  assert "depth 'sideways' is unknown" in str(caught.value)
  assert 'num_layers shrinks from 3 to 2; give at least 3' in str(caught.value)
