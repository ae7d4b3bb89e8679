"""Architectures refuse nonsense, and derived values follow what they come from."""

import pytest

from official_ext.growth import Architecture

BASE = Architecture(
    num_layers=12, hidden_size=768, num_heads=12, inner_size=3072,
    vocab_size=30522)


def test_derived_values_follow_unless_given():
  assert (BASE.head_size, BASE.sequence_length) == (64, 512)
  assert BASE.replace(hidden_size=1536).head_size == 128
  assert BASE.replace(hidden_size=1536, head_size=64).head_size == 64
  assert BASE.replace(num_heads=6).head_size == 128
  assert BASE.replace(max_positions=128).sequence_length == 128
  assert BASE.replace(head_size=32).replace(num_heads=6).head_size == 32
  short = BASE.replace(sequence_length=128)
  assert short.replace(max_positions=256).sequence_length == 128
  with pytest.raises(ValueError, match='768 is not a multiple of num_heads 5'):
    BASE.replace(num_heads=5)


def test_untreated_undoes_every_treatment():
  treated = BASE.replace(ffn_sharing=4, query_pool_size=2, sequence_length=128)
  assert treated.is_treated and treated.stored_inner_size == 768
  assert treated.untreated() == BASE and not BASE.is_treated
  assert BASE.replace(ffn_rank=9).untreated() == BASE


def test_query_length_is_the_papers_in_whole_tiles():
  # 1 + ceil(435 / 2) + 76 = 295, and one empty slot.
  assert BASE.replace(query_pool_size=2).query_length(76) == 296
  assert BASE.query_length(76) == 512


@pytest.mark.parametrize('changes, message', [
    ({'num_layers': 0, 'vocab_size': 1.5},
     'num_layers is 0; give a whole number of at least 1; vocab_size is 1.5'),
    ({'ffn_sharing': 5, 'sequence_length': 513},
     'inner_size 3072 is not a multiple of ffn_sharing 5; choose a divisor; '
     'sequence_length 513 exceeds max_positions 512'),
    ({'ffn_sharing': 4, 'ffn_rank': 2},
     'ffn_rank 2 and ffn_sharing 4 exclude each other'),
])
def test_every_mistake_is_named(changes, message):
  with pytest.raises(ValueError) as caught:
    BASE.replace(**changes)
  assert message in str(caught.value)
