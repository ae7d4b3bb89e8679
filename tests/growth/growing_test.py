"""Growing weights: exact operators keep the logits, others follow a formula."""

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
