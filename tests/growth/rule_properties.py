"""What every growth rule has to keep, as plain functions of a rule's name.

`rules_test.py` calls them for every row of the tables, and CONTRIBUTING.md for a
rule that is not shipped.
"""

import numpy as np

from official_ext import growth
from tests.growth import numpy_bert
from tests.growth import numpy_gpt

MODELS = {'bert': numpy_bert, 'gpt': numpy_gpt}
SMALL = {
    'bert': growth.Architecture(
        num_layers=3, hidden_size=4, num_heads=2, head_size=3, inner_size=4,
        vocab_size=11, max_positions=8),
    'gpt': growth.Architecture(
        family='gpt', num_layers=3, hidden_size=4, num_heads=2, head_size=3,
        inner_size=4, vocab_size=11, max_positions=8, activation='gelu_erf',
        norm_epsilon=1e-3),
}
WIDE = dict(hidden_size=8, num_heads=5, head_size=3, inner_size=9)
EXACT = 1e-12


def make(source, dtype=np.float64):
  """Random weights and inputs of an architecture."""
  return (numpy_bert.random_weights(growth.weight_specs(source), dtype=dtype),
          MODELS[source.family].random_inputs(source))


def outputs(weights, architecture, inputs, layers=None):
  return MODELS[architecture.family].forward(
      weights, inputs,
      range(architecture.num_layers) if layers is None else layers,
      **numpy_bert.options_of(architecture))


def gradients(weights, architecture, inputs):
  return MODELS[architecture.family].gradient(
      weights, inputs, range(architecture.num_layers),
      **numpy_bert.options_of(architecture))


def assert_same(first, second, rtol=0.0, atol=0.0):
  assert list(first) == list(second)
  for name in first:
    np.testing.assert_allclose(
        first[name], second[name], rtol=rtol, atol=atol, err_msg=name)


def check_fresh_target(source, target, **rules):
  """Names, order, shapes and types are those of a new target; no aliases."""
  for dtype in (np.float32, np.float64):
    weights, _ = make(source, dtype)
    grown = growth.grow(weights, source, target, **rules)
    kept = {name: array.copy() for name, array in grown.items()}
    specs = growth.weight_specs(target)
    assert list(grown) == list(specs)
    for name, spec in specs.items():
      assert (grown[name].shape, grown[name].dtype) == (spec.shape, dtype), name
    for array in weights.values():
      array[...] = np.nan
    assert_same(grown, kept)


def check_nothing_is_lost(source, target, **rules):
  """Every weight of the source is read, up to its last unit."""
  weights, _ = make(source)
  for name in weights:
    poisoned = weights[name].copy()
    poisoned.flat[-1] = np.nan
    grown = growth.grow(
        {**weights, name: poisoned}, source, target, noise_scale=0.0, **rules)
    assert any(np.isnan(array).any() for array in grown.values()), (
        f'{name} is not read.')


def check_repeatable(source, target, **rules):
  """The same seed gives the same bits, in whatever order the names come."""
  weights, _ = make(source)
  backwards = dict(reversed(weights.items()))
  results = [growth.grow(given, source, target, seed=seed, **rules)
             for given, seed in ((weights, 3), (backwards, 3), (weights, 4))]
  assert_same(results[0], results[1])
  # Noise at the least is another's.
  assert any(
      (results[0][name] != results[2][name]).any() for name in results[0])
  moments = [
      growth.grow_moments(weights, weights, source, target, seed=3, **rules)
      for _ in range(2)]
  for first, second in zip(*moments):
    assert_same(first, second)


def check_parity(source, target, noise_scale=0.1, **rules):
  """A growth that is declared to preserve the function does."""
  assert growth.weight_growth_preserves(source, target, **rules)
  weights, inputs = make(source)
  grown = growth.grow(weights, source, target, noise_scale=noise_scale, **rules)
  report = growth.compare(
      outputs(weights, source, inputs), outputs(grown, target, inputs),
      tolerance=EXACT)
  assert report.holds, report


def check_moments(source, target, **rules):
  """Moments of an exact growth are the grown model's own gradients."""
  weights, inputs = make(source)
  before = gradients(weights, source, inputs)
  grown = growth.grow(weights, source, target, noise_scale=0.0, **rules)
  after = gradients(grown, target, inputs)
  first, second = growth.grow_moments(
      before, {name: g * g for name, g in before.items()}, source, target,
      **rules)
  assert_same(first, after, rtol=1e-9, atol=1e-14)
  assert_same(
      second, {name: g * g for name, g in after.items()}, rtol=1e-9, atol=1e-14)


def check_order_of_blocks(source, target, order, **rules):
  """The grown model is the small one with its blocks run in another order.

  Args:
    source: architecture before.
    target: architecture after.
    order: blocks of the source; a function of the source's weights among them
      stands for a block that does something else.
    **rules: names of rules.
  """
  weights, inputs = make(source)
  grown = growth.grow(weights, source, target, **rules)
  layers = [(lambda x, block=block: block(x, weights)) if callable(block)
            else block for block in order]
  report = growth.compare(
      outputs(weights, source, inputs, layers), outputs(grown, target, inputs),
      tolerance=EXACT)
  assert report.holds, report


def check_width_rule(width, family):
  """Everything that holds for any width rule."""
  source = SMALL[family]
  target = source.replace(**WIDE)
  _check_any(source, target, width=width)
  if growth.weight_growth_preserves(source, target, width=width):
    check_parity(source, target, width=width)


def check_depth_rule(depth, family):
  """Everything that holds for any depth rule."""
  source = SMALL[family]
  for num_layers in (4, 7):
    target = source.replace(num_layers=num_layers)
    _check_any(source, target, depth=depth)
    if growth.weight_growth_preserves(source, target, depth=depth):
      check_parity(source, target, depth=depth)


def _check_any(source, target, **rules):
  check_fresh_target(source, target, **rules)
  check_nothing_is_lost(source, target, **rules)
  # Some width has to grow for noise to fall on.
  check_repeatable(source, target.replace(inner_size=20), **rules)
