"""Text to ids, many sentences at a time, as numpy arrays."""

from typing import Sequence

import numpy as np

from official_ext.data import partial_tensorflow


class Encoder:
  """What `prepare` tokenises with; `Tokenizer` is its twin for graphs.

  Both are `partial_tensorflow.fast_bert_tokenizer` underneath.

  Args:
    vocabulary: the pieces, in the order of their ids.
    lower_case: whether to lower-case and strip accents.
  """

  def __init__(self, vocabulary: Sequence[str], *, lower_case: bool = True):
    self._tokenizer = partial_tensorflow.fast_bert_tokenizer(
        vocabulary, lower_case)

  def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of many texts, as flat arrays.

    Args:
      texts: strings; what UTF-8 cannot hold (a lone surrogate) becomes "?".

    Returns:
      ids int32 [tokens], and row_splits int64 [texts + 1]: the ids of text i
      are `ids[row_splits[i]:row_splits[i + 1]]`.
    """
    ragged = self._tokenizer.tokenize(partial_tensorflow.string_vector(
        [text.encode('utf-8', 'replace') for text in texts]))
    return ragged.values.numpy(), ragged.row_splits.numpy()
