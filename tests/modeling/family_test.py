"""Each family's own class, and what a GPT cannot be asked for."""

import dataclasses

import pytest

from official_ext import modeling
from tests.modeling import tiny_bert
from tests.modeling import tiny_gpt


def test_the_family_decides():
  bert = modeling.build_pretrainer(tiny_bert.PLAIN, dropout_seed=3)
  gpt = modeling.build_pretrainer(tiny_gpt.PLAIN, dropout_seed=3)
  assert type(bert) is modeling.GrowingBertPretrainer
  assert type(gpt) is modeling.GrowingGptPretrainer
  assert bert.get_config()['dropout_seed'] == 3
  assert gpt.get_config()['dropout_seed'] == 3
  again = modeling.build_pretrainer(dataclasses.asdict(tiny_gpt.PLAIN))
  assert again.architecture == tiny_gpt.PLAIN


def test_none_leaves_the_default():
  bert = modeling.build_pretrainer(
      tiny_bert.PLAIN, use_next_sentence=None, query_pool_type='max')
  assert bert.get_config()['use_next_sentence'] is True
  assert bert.get_config()['query_pool_type'] == 'max'
  for nothing in (dict(use_next_sentence=None, query_pool_type=None),
                  dict(use_next_sentence=False, query_pool_type='mean')):
    modeling.build_pretrainer(tiny_gpt.PLAIN, **nothing)


@pytest.mark.parametrize('option, message', [
    (dict(use_next_sentence=True),
     'use_next_sentence is True, but a GPT reads no pairs of sentences; set '
     'use_next_sentence to False.'),
    (dict(query_pool_type='max'),
     "query_pool_type is 'max', but a GPT predicts every token, so none are "
     'pooled; leave query_pool_type out.'),
])
def test_what_a_gpt_has_not(option, message):
  with pytest.raises(ValueError) as error:
    modeling.build_pretrainer(tiny_gpt.PLAIN, **option)
  assert str(error.value) == message
