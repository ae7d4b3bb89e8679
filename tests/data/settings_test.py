"""Which settings belong to which objective."""

import dataclasses

import pytest

from official_ext.data.settings import PrepareSettings


@pytest.mark.parametrize('field,value', [
    ('max_predictions_per_seq', 20), ('masked_lm_probability', 0.15),
    ('whole_word_masking', False), ('short_sequence_probability', 0.1),
    ('dupe_factor', 1)])
def test_what_has_no_meaning_for_an_objective_is_refused(field, value):
  with pytest.raises(ValueError) as caught:
    PrepareSettings(objective='causal_lm', **{field: value})
  assert str(caught.value) == (
      f'{field} is {value}, but objective causal_lm pairs and masks nothing; '
      f'leave out {field}, or give objective masked_lm')


def test_all_that_is_given_in_vain_is_listed():
  with pytest.raises(
      ValueError, match='masked_lm_probability is 0.2, .*; dupe_factor is 3, .*;'
      ' num_shards is 0; give'):
    PrepareSettings(objective='causal_lm', masked_lm_probability=0.2,
                    dupe_factor=3, num_shards=0)


def test_an_unknown_objective():
  with pytest.raises(ValueError, match="objective is 'causal'; give one of "
                     'masked_lm, causal_lm'):
    PrepareSettings(objective='causal')


def test_settings_left_out_are_those_of_bert():
  settings = PrepareSettings()
  assert (settings.max_predictions_per_seq, settings.masked_lm_probability,
          settings.whole_word_masking, settings.short_sequence_probability,
          settings.dupe_factor) == (20, 0.15, False, 0.1, 1)


@pytest.mark.parametrize('objective', ['masked_lm', 'causal_lm'])
def test_settings_can_be_replaced(objective):
  settings = PrepareSettings(objective=objective, seed=1)
  assert dataclasses.replace(settings, seed=2) == PrepareSettings(
      objective=objective, seed=2)
