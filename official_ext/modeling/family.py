"""From an architecture to the pre-training model of its family."""

from typing import Any

from official_ext.growth.architecture import Architecture
from official_ext.modeling.gpt_pretrainer import GrowingGptPretrainer
from official_ext.modeling.pretrainer import GrowingBertPretrainer

# What only a BERT can be told, and the value that asks for nothing.
_BERT_ONLY = {
    'use_next_sentence': (
        False, 'a GPT reads no pairs of sentences; set use_next_sentence to '
        'False'),
    'query_pool_type': (
        'mean', 'a GPT predicts every token, so none are pooled; leave '
        'query_pool_type out'),
}


def build_pretrainer(
    architecture: Architecture | dict[str, Any], **options: Any
) -> GrowingBertPretrainer | GrowingGptPretrainer:
  """Builds the pre-training model that an architecture describes.

  Args:
    architecture: what to build; the dict of its fields is accepted too.
    **options: those of the pretrainer's class. None leaves an option at its
      default.

  Raises:
    ValueError: a GPT is asked for what only a BERT has.
  """
  if not isinstance(architecture, Architecture):
    architecture = Architecture(**architecture)
  options = {name: value for name, value in options.items()
             if value is not None}
  if architecture.family == 'bert':
    return GrowingBertPretrainer(architecture, **options)
  for name, (nothing, mend) in _BERT_ONLY.items():
    value = options.pop(name, nothing)
    if value != nothing:
      raise ValueError(f'{name} is {value!r}, but {mend}.')
  return GrowingGptPretrainer(architecture, **options)
