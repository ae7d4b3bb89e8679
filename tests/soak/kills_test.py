"""The soak itself: fifty kills, each of the short windows among them."""

import pytest

from tests.soak import kills
from tests.soak import moments


@pytest.mark.slow
def test_killed_runs_end_bit_identical(tmp_path):
  outcome = kills.soak(str(tmp_path), num_kills=50, seed=1)
  assert outcome.killed.total() == 50
  for moment in moments.MOMENTS:
    assert outcome.killed[moment] >= 2, outcome
  assert outcome.told >= 1 and outcome.compared >= 2
