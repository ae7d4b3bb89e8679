"""Sequences for causal language modelling, packed full of documents.

As GPT-2 and GPT-3 pack theirs (Brown et al. 2020, appendix B): documents follow
one another, with a separator after each, and the stream is cut where a sequence
is full; attention is not masked between documents. Departure: each sequence
begins with [CLS], so that its first text token is predicted from something.
"""

import numpy as np

from official_ext.data.sentence_pairs import EncodedDocuments


def token_stream(documents: EncodedDocuments, sep_id: int) -> np.ndarray:
  """The tokens of all documents, int32 [tokens], with `sep_id` after each."""
  ends = documents.sentence_splits[documents.document_splits[1:]]
  return np.insert(documents.ids, ends, sep_id)


def make_causal_rows(text: np.ndarray, cls_id: int,
                     dtype: np.dtype) -> np.ndarray:
  """Rows `[CLS] text`, in order. `key`, `chunk` and `row` stay 0.

  Only the last row may end in padding. A sequence may end within a document,
  which goes on behind the [CLS] of the next.

  Args:
    text: int32 [tokens], from `token_stream`.
    cls_id: begins each sequence.
    dtype: from `row_dtype` with no predictions.
  """
  room = dtype['ids'].shape[0] - 1
  rows = np.zeros(-(-len(text) // room), dtype)
  if not len(rows):
    return rows
  rows['ids'][:, 0] = cls_id
  padding = len(rows) * room - len(text)
  rows['ids'][:, 1:] = np.pad(text, (0, padding)).reshape(-1, room)
  rows['length'] = room + 1
  rows['length'][-1] -= padding
  return rows
