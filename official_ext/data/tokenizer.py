"""The tokenizer as a graph, for the SavedModel; `Encoder` is its twin."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from official_ext.data import partial_tensorflow
from official_ext.data.vocabulary import check_vocabulary
from official_ext.data.vocabulary import read_vocabulary


class Tokenizer(tf.Module):
  """BERT's WordPiece tokenizer, as a graph of `tensorflow_text`'s fast one.

  Text never yields a special token: a "[MASK]" that an author typed becomes
  the pieces of "[", "mask" and "]". `tokenize_with_masks` is the one door
  through which a mask comes in.

  Args:
    vocabulary: pieces in the order of their ids, the special ones among them.
    lower_case: whether to lower-case and strip accents.
    pieces_of: from strings, dense or ragged, to the int32 ids of their pieces,
      with one more axis; None is the fast tokenizer. Another one has to give
      the same pieces.

  Attributes:
    vocabulary: the pieces; a piece's index is its id.
    lower_case: whether text is lower-cased and stripped of accents.
    pad_id, unk_id, cls_id, sep_id, mask_id: ids of the special tokens.
  """

  def __init__(self, vocabulary: Sequence[str], *, lower_case: bool = True,
               pieces_of: Callable[..., tf.RaggedTensor] | None = None):
    super().__init__(name='tokenizer')
    check_vocabulary(vocabulary)
    self.vocabulary = tuple(vocabulary)
    self.lower_case = lower_case
    index = {piece: i for i, piece in enumerate(vocabulary)}
    self.pad_id = index['[PAD]']
    self.unk_id = index['[UNK]']
    self.cls_id = index['[CLS]']
    self.sep_id = index['[SEP]']
    self.mask_id = index['[MASK]']
    self._pieces_of = pieces_of or partial_tensorflow.fast_bert_tokenizer(
        vocabulary, lower_case).tokenize

  def __call__(self, texts) -> tf.RaggedTensor:
    """Pieces of each text.

    Args:
      texts: string [batch], UTF-8.

    Returns:
      int32 [batch, (tokens)], without special tokens.
    """
    return self._pieces_of(texts)

  def tokenize_with_masks(self, texts) -> tf.RaggedTensor:
    """As calling it, but each "[MASK]" in a text becomes the mask's id.

    Args:
      texts: string [batch].

    Returns:
      int32 [batch, (tokens)].
    """
    parts = tf.strings.split(texts, '[MASK]')  # [batch, (parts)]
    tokens = self._pieces_of(parts)  # [batch, (parts), (tokens)]
    masks = parts.with_values(tf.RaggedTensor.from_tensor(
        tf.fill([tf.size(parts.flat_values), 1], self.mask_id)))
    joined = tf.concat([tokens, masks], axis=2).merge_dims(1, 2)
    return joined[:, :-1]  # A mask between the parts, none after the last.


def build_tokenizer(vocabulary: str | Sequence[str], *,
                    lower_case: bool = True) -> Tokenizer:
  """The tokenizer of a vocabulary.

  Args:
    vocabulary: path of a vocabulary file, or its pieces in order.
    lower_case: whether to lower-case and strip accents.

  Raises:
    ValueError: if the vocabulary lacks a special token or repeats a piece.
  """
  if isinstance(vocabulary, str):
    vocabulary = read_vocabulary(vocabulary)
  return Tokenizer(vocabulary, lower_case=lower_case)
