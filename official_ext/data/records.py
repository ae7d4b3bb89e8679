"""One pre-training example: as a fixed-size row, and as a `tf.train.Example`.

Rows are what is spilled and shuffled; the Examples are what Model Garden's
`BertPretrainDataLoader(use_v2_feature_names=True)` reads. Python's protobuf
needs about 150 microseconds an Example; here a batch of rows is serialised by
numpy into the same bytes as `SerializeToString(deterministic=True)`.
"""

import numpy as np


def row_dtype(seq_length: int, max_predictions: int,
              vocab_size: int) -> np.dtype:
  """The row of one example.

  Args:
    seq_length: tokens an example.
    max_predictions: slots for predictions; 0 for causal language modelling,
      whose rows have the fields `key`, `chunk`, `row`, `length` and `ids` only.
    vocab_size: ids are smaller than this.

  Fields:
    key: random; rows are shuffled by sorting on it, then on chunk and row.
    chunk, row: where the example was made.
    length: tokens that are not padding.
    b_start: position of the first token of type 1.
    num_predictions: how many of positions and labels are used.
    is_random_next: the label of next-sentence prediction.
    ids [seq_length], positions [max_predictions], labels [max_predictions].
  """
  id_type = np.uint16 if vocab_size <= 1 << 16 else np.uint32
  common = [
      ('key', np.uint64), ('chunk', np.uint64), ('row', np.uint32),
      ('length', np.uint16), ('ids', id_type, (seq_length,))]
  if not max_predictions:
    return np.dtype(common)
  return np.dtype(common + [
      ('b_start', np.uint16),
      ('num_predictions', np.uint16), ('is_random_next', np.uint8),
      ('positions', np.uint16, (max_predictions,)),
      ('labels', id_type, (max_predictions,)),
  ])


def serialize_rows(rows: np.ndarray) -> list[bytes]:
  """Serialised `tf.train.Example`s of `rows`, with Model Garden's v2 features.

  Of them, causal rows have `input_word_ids` and `input_mask`.

  Args:
    rows: [examples] of `row_dtype`.
  """
  place = np.arange(rows['ids'].shape[1])
  is_token = place < rows['length'][:, None]
  if 'labels' in rows.dtype.names:
    entries = _masked_lm_entries(rows, place, is_token)
  else:
    entries = [_entry('input_mask', _packed_ints(is_token)),
               _entry('input_word_ids', _packed_ints(rows['ids']))]
  data, valid = _field(0x0A, _joined(entries))
  flat = data[valid].tobytes()
  ends = np.cumsum(valid.sum(axis=1)).tolist()
  return [flat[start:end] for start, end in zip([0] + ends, ends)]


def predicted_ids(rows: np.ndarray) -> np.ndarray:
  """The tokens that a model is asked for in `rows`, one after another.

  Args:
    rows: [examples] of `row_dtype`.

  Returns:
    int64 [predictions]: the masked tokens; of causal rows, every token but the
    first of each sequence.
  """
  if 'labels' in rows.dtype.names:
    slots, counts = rows['labels'], rows['num_predictions']
  else:
    slots, counts = rows['ids'][:, 1:], rows['length'].astype(np.int64) - 1
  is_used = np.arange(slots.shape[1]) < counts[:, None]
  return slots[is_used].astype(np.int64)


def _masked_lm_entries(rows, place, is_token):
  num_rows, num_predictions = rows['positions'].shape
  is_b = is_token & (place >= rows['b_start'][:, None])
  weights = (np.arange(num_predictions)
             < rows['num_predictions'][:, None]).astype('<f4')
  # In the order of a deterministic serialisation: by name.
  return [
      _entry('input_mask', _packed_ints(is_token)),
      _entry('input_type_ids', _packed_ints(is_b)),
      _entry('input_word_ids', _packed_ints(rows['ids'])),
      _entry('masked_lm_ids', _packed_ints(rows['labels'])),
      _entry('masked_lm_positions', _packed_ints(rows['positions'])),
      _entry('masked_lm_weights',
             _all_valid(weights.view(np.uint8).reshape(num_rows, -1)),
             is_float=True),
      _entry('next_sentence_labels', _packed_ints(rows['is_random_next'][:, None])),
  ]


# A "ragged" matrix below is a pair (data, valid) of uint8 and bool
# [rows, slots]: row i holds the bytes data[i][valid[i]].
_Ragged = tuple[np.ndarray, np.ndarray]


def _all_valid(data: np.ndarray) -> _Ragged:
  return data, np.ones(data.shape, bool)


def _joined(parts: list[_Ragged]) -> _Ragged:
  return (np.concatenate([data for data, _ in parts], axis=1),
          np.concatenate([valid for _, valid in parts], axis=1))


def _packed_ints(values: np.ndarray) -> _Ragged:
  """Varints of `values` [rows, n], seven bits a byte, the lowest first."""
  if values.dtype == bool or not values.size or values.max() < 0x80:
    return _all_valid(values.astype(np.uint8))
  num_bytes = -(-int(values.max()).bit_length() // 7)
  # No id and no length needs more than 32 bits.
  septets = values.astype(np.uint32)[:, :, None] >> np.arange(
      0, 7 * num_bytes, 7, dtype=np.uint32)
  more = (septets >= 0x80).view(np.uint8)
  data = (septets & 0x7F).astype(np.uint8) | more << 7
  valid = septets > 0
  valid[:, :, 0] = True
  return data.reshape(len(values), -1), valid.reshape(len(values), -1)


def _field(tag: int, content: _Ragged) -> _Ragged:
  """A length-delimited protobuf field: tag, length, content."""
  data, valid = content
  tags = np.full((len(data), 1), tag, np.uint8)
  lengths = valid.sum(axis=1)[:, None]
  return _joined([_all_valid(tags), _packed_ints(lengths), content])


def _entry(name: str, values: _Ragged, is_float: bool = False) -> _Ragged:
  """One entry of `Features.feature`, a map of name to `Feature`."""
  num_rows = len(values[0])
  # Feature is a oneof of bytes_list = 1, float_list = 2, int64_list = 3; each
  # list is `repeated value = 1 [packed]`.
  feature = _field(0x12 if is_float else 0x1A, _field(0x0A, values))
  key = np.frombuffer(name.encode(), np.uint8)
  keys = _all_valid(np.broadcast_to(key, (num_rows, len(key))))
  return _field(0x0A, _joined([_field(0x0A, keys), _field(0x12, feature)]))
