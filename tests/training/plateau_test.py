"""When a run is told that it has learnt token frequencies only."""

import pytest

from official_ext.data.manifest import Unigram
from official_ext.training import plateau

UNIGRAM = Unigram(cross_entropy=6.0, accuracy=0.06)


@pytest.mark.parametrize('metrics, warns', [
    ({'loss': 5.71}, True), ({'loss': 6.4}, True), ({'loss': 5.69}, False),
    # Next-sentence prediction is no part of it.
    ({'loss': 6.2, 'masked_lm_loss': 5.5}, False),
    ({'loss': 5.0, 'causal_lm_loss': 5.8}, True)])
def test_warns_within_three_tenths_of_a_nat(metrics, warns):
  said = plateau.warning(metrics, UNIGRAM)
  assert (said is not None) == warns
  if warns:
    assert f'{plateau.language_model_loss(metrics):.3f} nats' in said
    assert '6.000' in said
    for remedy in ('shorter sequences', 'tokens per step', 'vocabulary',
                   'beta_2', 'sinusoidal', 'docs/stuck_loss.md'):
      assert remedy in said


def test_unknown_level_says_nothing():
  assert plateau.warning({'loss': 9.0}, None) is None


def test_level_is_described():
  assert '6.000 nats' in plateau.describe_level(UNIGRAM)
