"""A request or more for each signature: to warm a server up, and to show."""

from collections.abc import Sequence
from typing import Any

from official_ext.export.row_encoders import buckets
from official_ext.export.served_model import ServedModel

Request = dict[str, Any]
_PROMPT = 'The function returns'
_TEXTS = {
    'bert': {'text': 'The function returns a [MASK].'},
    'encoder': {'text': 'The function returns a list.'},
    'question_answering': {
        'question': 'What does the function return?',
        'context': 'The function returns a list of names.'},
}
_PAIR = {'text': 'The function returns a list.',
         'second_text': 'It returns a list.'}


def example_requests(served: ServedModel, signatures: Sequence[str],
                     vocabulary: Sequence[str]) -> dict[str, list[Request]]:
  """Requests of one example each, as JSON values.

  Args:
    served: the model.
    signatures: names of its signatures.
    vocabulary: its pieces.

  Returns:
    Of each signature an example to read, and then one for every length that the
    model pads to.
  """
  if served.kind == 'gpt':
    return {name: [request] for name, request in
            _gpt_requests(vocabulary).items() if name in signatures}
  texts = _TEXTS.get(served.kind) or {
      name: _PAIR[name]
      for name in ('text', 'second_text')[:served.finetuned.task.num_texts]}
  length = (served.finetuned.task.seq_length if served.finetuned
            else served.architecture.sequence_length)
  requests = {}
  for name in signatures:
    if name in ('token_ids', 'embed_token_ids'):
      requests[name] = [
          _ids(size, vocabulary, has_masks=(
              served.kind == 'bert' and name == 'token_ids'))
          for size in (8, *buckets(length))]
    else:
      requests[name] = [{key: [value] for key, value in texts.items()}]
      # The last one is what gets long.
      key, value = list(texts.items())[-1]
      requests[name] += [
          {**requests[name][0], key: [' '.join([value] + ['.'] * size)]}
          for size in buckets(length)]
  return requests


def _ids(length: int, vocabulary: Sequence[str], *, has_masks: bool) -> Request:
  """[CLS], unknown words and [SEP]."""
  inner = [vocabulary.index('[MASK]' if has_masks else '[UNK]')]
  inner += [vocabulary.index('[UNK]')] * (length - 3)
  words = [vocabulary.index('[CLS]'), *inner, vocabulary.index('[SEP]')]
  request = {'input_word_ids': [words], 'input_mask': [[1] * length],
             'input_type_ids': [[0] * length]}
  return request | ({'masked_lm_positions': [[1]]} if has_masks else {})


def _gpt_requests(vocabulary: Sequence[str]) -> dict[str, Request]:
  return {
      'next_token_logits': {
          'input_word_ids': [[vocabulary.index('[CLS]'),
                              vocabulary.index('[UNK]')]],
          'input_mask': [[1, 1]]},
      'next_token': {'text': [_PROMPT]},
      'generate': {
          'text': [_PROMPT], 'max_new_tokens': 4, 'temperature': 0.8,
          'top_k': 0, 'top_p': 0.95, 'stop_token': '.'},
  }
