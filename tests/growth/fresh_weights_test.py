"""How fresh weights start."""

import math

import numpy as np
import pytest

from official_ext.growth.fresh_weights import sinusoidal_positions


@pytest.mark.parametrize('hidden_size', [8, 7])
def test_positions_are_sinusoids_unit_by_unit(hidden_size):
  values = sinusoidal_positions((5, hidden_size), 0.05)
  assert values.dtype == np.float32
  for position in range(5):
    for unit in range(hidden_size):
      pair = unit // 2
      angle = position / 10000 ** (2 * pair / hidden_size)
      wave = math.sin(angle) if unit % 2 == 0 else math.cos(angle)
      assert values[position, unit] == pytest.approx(
          math.sqrt(2) * 0.05 * wave, abs=1e-7)


def test_positions_have_the_spread_of_other_embeddings():
  values = sinusoidal_positions((512, 128), 0.02)
  assert np.sqrt(np.mean(values ** 2)) == pytest.approx(0.02, rel=1e-6)
