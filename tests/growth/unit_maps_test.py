"""Maps with units of other layers and fresh units follow each other rightly."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from official_ext import growth
from official_ext.growth import growth_maps
from official_ext.growth import named_weights
from official_ext.growth import transfer

UNREAD = growth.UnitMap.identity(1)
BIAS = named_weights.WeightSpec((1,), (growth.Axis('inner', 'out'),))
READER = named_weights.WeightSpec((1,), (growth.Axis('inner', 'in'),))


@st.composite
def _step(draw, num_layers, size, may_mix):
  """(target layers, for each its unit map): anything that can be one growth."""
  num_fresh = draw(st.integers(0, 2))
  new_size = size + num_fresh + draw(st.integers(0, 3))
  layers = draw(st.lists(
      st.integers(0, num_layers - 1), min_size=1, max_size=4))
  maps = []
  for _ in layers:
    added = draw(st.lists(
        st.integers(0, size + num_fresh - 1),
        min_size=new_size - size - num_fresh,
        max_size=new_size - size - num_fresh))
    units = draw(st.permutations([*range(size + num_fresh), *added]))
    origins = draw(st.none() | st.lists(
        st.integers(0, num_layers - 1), min_size=new_size, max_size=new_size)
                   ) if may_mix else None
    maps.append(growth.UnitMap(
        tuple(units), layers=None if origins is None else tuple(origins),
        num_fresh=num_fresh))
  return layers, maps


@st.composite
def _steps(draw):
  num_layers, size, steps = 3, 2, []
  for _ in range(draw(st.integers(1, 3))):
    steps.append(draw(_step(num_layers, size, may_mix=True)))
    num_layers, size = len(steps[-1][0]), steps[-1][1][0].new_size
  return steps


def _loop(values, step, divides):
  """One growth, unit by unit. `values[layer][unit]`; fresh units are 0."""
  layers, maps = step
  grown = []
  for layer, unit_map in zip(layers, maps):
    row = []
    for unit, source in enumerate(unit_map.sources):
      origin = layer if unit_map.layers is None else unit_map.layers[unit]
      old = values[origin]
      share = 1 / unit_map.sources.count(source) if divides else 1
      row.append(old[source] * share if source < len(old) else 0.0)
    grown.append(row)
  return grown


@hypothesis.given(_steps())
def test_a_chain_of_maps_equals_a_hand_written_loop(steps):
  values = np.random.default_rng(0).normal(size=(3, 2)).tolist()
  produced = read = values
  composed = None
  for layers, maps in steps:
    produced = _loop(produced, (layers, maps), divides=False)
    read = _loop(read, (layers, maps), divides=True)
    step = growth_maps.GrowthMaps(
        tuple(layers), UNREAD, (UNREAD,) * len(layers), tuple(maps))
    composed = step if composed is None else composed.then(step)
  weights, specs = {}, {}
  for name, spec in (('ffn/inner/bias', BIAS), ('ffn/output/kernel', READER)):
    for layer in range(3):
      weights[f'layer_{layer}/{name}'] = np.array(values[layer])
    for layer in range(len(produced)):
      specs[f'layer_{layer}/{name}'] = spec
  grown = transfer.grow_weights(
      weights, specs, composed, initializer_stddev=0.0)
  for name, expected in (
      ('ffn/inner/bias', produced), ('ffn/output/kernel', read)):
    for layer, row in enumerate(expected):
      np.testing.assert_allclose(
          grown[f'layer_{layer}/{name}'], row, rtol=1e-13, atol=0)


def test_copies_of_different_layers_are_none():
  unit_map = growth.UnitMap((0, 1, 0, 1, 0, 1, 0), layers=(0, 0, 1, 1, 1, 1, 1))
  pairs, threes = unit_map.copies
  assert pairs.tolist() == [[3, 5]] and threes.tolist() == [[2, 4, 6]]
  assert not growth.UnitMap((0, 1, 2), num_fresh=2).copies


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('sources', [
    [3], [0, 1, 2, 3, 4], [1, 2, 3, 0, 1], [4, 3, 2, 1, 0, 0, 0],
    np.random.default_rng(0).integers(5, size=100).tolist()])
def test_taking_by_slices_is_taking(sources, axis):
  array = np.random.default_rng(1).normal(size=(5, 5, 5))
  kept = array.copy()
  taken = transfer.take(array, np.array(sources), axis)
  array[...] = 0
  expected = np.stack([np.moveaxis(kept, axis, 0)[unit] for unit in sources])
  np.testing.assert_array_equal(taken, np.moveaxis(expected, 0, axis))


def test_substitutes_follow_each_other():
  architecture = growth.Architecture(
      num_layers=1, hidden_size=2, num_heads=1, inner_size=2, vocab_size=3)
  deeper = [growth.DEPTH_RULES['identity'].substitutes, {'a': 'b', 'c': 'd'}]
  maps = [growth_maps.GrowthMaps(
      (0,), growth.UnitMap.identity(2), (growth.UnitMap.identity(1),),
      (growth.UnitMap.identity(2),), ({'b': None, 'd': 'e', 'f': 'g'},)),
          growth_maps.GrowthMaps(
              (0, 0), growth.UnitMap.identity(2),
              (growth.UnitMap.identity(1),) * 2,
              (growth.UnitMap.identity(2),) * 2, ({}, deeper[1]))]
  both = maps[0].then(maps[1])
  assert [both.source_name(f'layer_1/{name}') for name in 'abcdfh'] == [
      None, None, 'layer_0/e', 'layer_0/e', 'layer_0/g', 'layer_0/h']
  assert both.source_name('layer_0/b') is None
  mixed = growth_maps.GrowthMaps(
      (0,), growth.UnitMap.identity(2), (growth.UnitMap.identity(1),),
      (growth.UnitMap((0, 1), layers=(0, 0)),))
  with pytest.raises(ValueError, match='widen first, then deepen'):
    maps[0].then(mixed)
  assert growth.GrowthMaps.identity(architecture).then(mixed) == mixed


@pytest.mark.parametrize('arguments, message', [
    (dict(sources=(0, 1), num_fresh=2), 'keep an old unit'),
    (dict(sources=(0, 1, 2), old_size=2), 'last source is 2; keep an old unit'),
    (dict(sources=(0, 1), layers=(1,)), '1 layers for 2 units; give one a unit'),
    (dict(sources=(0, 0), old_size=2), 'old unit 1 has no copy'),
])
def test_maps_that_name_what_there_is_not_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    growth.UnitMap(**arguments)


def test_layers_with_other_fresh_units_do_not_mix():
  identity = growth.UnitMap.identity(2)
  first = growth_maps.GrowthMaps(
      (0, 1), UNREAD, (UNREAD,) * 2,
      (growth.UnitMap((0, 1), num_fresh=1), identity))
  second = growth_maps.GrowthMaps(
      (0, 1), UNREAD, (UNREAD,) * 2,
      (growth.UnitMap((0, 1), layers=(0, 1)), identity))
  with pytest.raises(ValueError, match='layers 0 and 1 have .new, old, fresh.'):
    first.then(second)
