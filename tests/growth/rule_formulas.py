"""The formulas of the rules, written from the papers and not from the code."""

import re

import numpy as np

from tests.growth import numpy_bert

# Axes by name: d residual units, h heads, f feed-forward units; a star where
# the entries are divided by the number of copies.
_AXES = (
    ('embeddings/(word|position|type)', ('', 'd')),
    ('(masked_lm/norm|final_norm)/(gamma|beta)', ('d*',)),
    ('.*norm/(gamma|beta)', ('d',)),
    ('.*attention/(query|key|value)/kernel', ('d*', 'h', '')),
    ('.*attention/(query|key|value)/bias', ('h', '')),
    ('.*attention/output/kernel', ('h*', '', 'd')),
    ('.*ffn/inner/kernel', ('d*', 'f')),
    ('.*ffn/inner/bias', ('f',)),
    ('.*ffn/output/kernel', ('f*', 'd')),
    ('masked_lm/output_bias', ('',)),
    ('next_sentence/output/kernel', ('d*', '')),
    ('next_sentence/output/bias', ('',)),
    ('.*kernel', ('d*', 'd')),
    ('.*bias', ('d',)),
)


def axes_of(name):
  return next(axes for pattern, axes in _AXES if re.fullmatch(pattern, name))


def copied(weights, sources):
  """W'[i, j] = W[g(i), g(j)] / c(i), entry by entry.

  `sources` maps 'd', 'h' and 'f' to the old unit of every new one.
  """
  grown = {}
  for name, weight in weights.items():
    for axis, group in enumerate(axes_of(name)):
      if not group:
        continue
      units = list(sources[group[0]])
      parts = [np.take(weight, unit, axis) / (
          units.count(unit) if group.endswith('*') else 1) for unit in units]
      weight = np.stack(parts, axis)
    grown[name] = weight
  return grown


def _in_turn(source, target):
  return {group: [new % getattr(source, field)
                  for new in range(getattr(target, field))]
          for group, field in (
              ('d', 'hidden_size'), ('h', 'num_heads'), ('f', 'inner_size'))}


def check_fpi(weights, grown, source, target):
  expected = copied(weights, _in_turn(source, target))
  _assert_equal(grown, expected)


def check_aki(weights, grown, source, target):
  """bert2BERT: [own columns, the layer above's columns], both widened by FPI."""
  widened = copied(weights, _in_turn(source, target))
  expected = {}
  for name, weight in widened.items():
    match = re.match(r'layer_(\d+)/', name)
    if match and int(match[1]) < source.num_layers - 1:
      above = widened[name.replace(match[0], f'layer_{int(match[1]) + 1}/')]
      for axis, group in enumerate(axes_of(name)):
        if group[:1] in ('h', 'f'):
          old = source.num_heads if group[0] == 'h' else source.inner_size
          weight = np.concatenate(
              [np.split(weight, [old], axis)[0],
               np.split(above, [old], axis)[1]], axis)
    expected[name] = weight
  _assert_equal(grown, expected)


def check_aki_literal(weights, grown, source, target):
  """bert2BERT's formula: new out-columns of any kernel are the layer above's."""
  widened = copied(weights, _in_turn(source, target))
  old = {'d': source.hidden_size, 'h': source.num_heads, 'f': source.inner_size}
  expected = {}
  for name, weight in widened.items():
    weight = np.array(weight)
    match = re.match(r'layer_(\d+)/(?!.*norm)', name)
    if match and int(match[1]) < source.num_layers - 1:
      above = widened[name.replace(match[0], f'layer_{int(match[1]) + 1}/')]
      for axis, group in enumerate(axes_of(name)):
        if group in old:  # An out-axis: one of a sum has a star.
          new = (slice(None),) * axis + (slice(old[group], None),)
          weight[new] = above[new]
    expected[name] = weight
  _assert_equal(grown, expected)


def check_net2net(weights, grown, source, target):
  """Copies of drawn units: the draw is read off what nothing divides."""
  def drawn(name, axis):
    old = list(np.moveaxis(weights[name], axis, 0))
    return [next(i for i, row in enumerate(old) if np.array_equal(row, new))
            for new in np.moveaxis(grown[name], axis, 0)]
  sources = {'d': drawn('embeddings/word', 1),
             'h': drawn('layer_0/attention/query/bias', 0),
             'f': drawn('layer_0/ffn/inner/bias', 0)}
  for group, units in sources.items():
    size = len(set(units))
    assert units[:size] == list(range(size)), group
  copies = np.bincount(sources['d'])
  assert copies.max() - copies.min() <= 1
  _assert_equal(grown, copied(weights, sources))


def check_direct_copy(weights, grown, source, target):
  """The corner is the source; around it is what a new model starts with."""
  del source, target
  for name, weight in weights.items():
    corner = tuple(slice(size) for size in weight.shape)
    np.testing.assert_array_equal(grown[name][corner], weight, err_msg=name)
    outside = np.ones(grown[name].shape, bool)
    outside[corner] = False
    fresh = grown[name][outside]
    if name.endswith('gamma'):
      assert (fresh == 1).all(), name
    elif name.endswith(('beta', 'bias')):
      assert (fresh == 0).all(), name
    elif fresh.size:
      assert len(np.unique(fresh)) == fresh.size and fresh.size > 1, name
      assert np.abs(fresh).max() <= 0.04, name


def _assert_equal(grown, expected):
  assert set(grown) == set(expected)
  for name in expected:
    np.testing.assert_allclose(
        grown[name], expected[name], rtol=1e-14, atol=0, err_msg=name)


# rule -> check(weights, grown without noise, source, target).
WIDTH_FORMULAS = {
    'fpi': check_fpi,
    'aki': check_aki,
    'aki_literal': check_aki_literal,
    'net2net': check_net2net,
    'direct_copy': check_direct_copy,
}


def normalised_again(layer, epsilon):
  """x -> N(N(x)), N the last LayerNorm of a layer of a post-LN model."""
  def renormalise(x, weights):
    for _ in range(2):
      x = numpy_bert.layer_norm(
          x, weights, f'layer_{layer}/ffn/norm', epsilon)
    return x
  return renormalise


_AGAIN = [normalised_again(layer, 1e-12) for layer in range(3)]

# (rule, family) -> target layers -> the blocks of a source of 3, in order.
_ORDERS = {
    'append': {5: (0, 1, 2, 0, 1), 7: (0, 1, 2, 0, 1, 2, 0)},
    'top': {5: (0, 1, 2, 1, 2), 7: (0, 1, 2, 0, 1, 2, 2)},
    'interleave': {5: (0, 0, 1, 1, 2), 7: (0, 0, 0, 1, 1, 2, 2)},
    'middle': {5: (0, 1, 1, 1, 2), 7: (0, 1, 1, 1, 1, 1, 2)},
}
DEPTH_FORMULAS = {
    (rule, family): orders for rule, orders in _ORDERS.items()
    for family in ('bert', 'gpt')}
DEPTH_FORMULAS['identity', 'gpt'] = {5: (0, 1, 2), 7: (0, 1, 2)}
DEPTH_FORMULAS['identity', 'bert'] = {
    5: (0, _AGAIN[0], 1, _AGAIN[1], 2),
    7: (0, _AGAIN[0], _AGAIN[0], 1, _AGAIN[1], 2, _AGAIN[2])}
