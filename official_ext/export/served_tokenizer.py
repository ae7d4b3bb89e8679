"""The tokenizer in the ops of TF Text that servers have.

TensorFlow Serving's own image lacks those of `FastBertTokenizer`, which makes
the training data; those of `BertTokenizer` it has had for years. The two differ
on a few code points, which are rewritten here, so that they give the same
pieces for every one.
"""

import tensorflow as tf
import tensorflow_text as text

from official_ext.data.tokenizer import Tokenizer
from official_ext.data.vocabulary import read_vocabulary

_SPACES = r'[\p{Zs}\p{Zl}\p{Zp}]'
# Punctuation of Unicode 15 and 16, which the regular expressions of TF Text
# do not know for such yet.
_NEW_PUNCTUATION = (
    r'[\x{1B4E}\x{1B4F}\x{1B7F}\x{10D6E}\x{113D4}\x{113D5}\x{113D7}\x{113D8}'
    r'\x{11BE1}\x{16D6D}\x{16D6E}\x{16D6F}\x{1E5FF}]')
# What is a word of its own: punctuation, and the ideographs of `BertTokenizer`.
_SIGNS = '|'.join([
    r'[!-/]|[:-@]|[\[-`]|[{-~]|\p{P}', _NEW_PUNCTUATION,
    r'[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}'
    r'\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}'
    r'\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]'])


class PortableTokenizer:
  """`tensorflow_text.BertTokenizer`, giving what `FastBertTokenizer` gives.

  Args:
    vocabulary_file: pieces, one a line; becomes an asset.
    lower_case: whether to lower-case and strip accents.
  """

  def __init__(self, vocabulary_file: str, *, lower_case: bool):
    # Whoever saves a graph of this has to hold the table.
    self.table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            vocabulary_file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER), num_oov_buckets=1)
    self._lower_case = lower_case
    self._tokenizer = text.BertTokenizer(
        self.table, token_out_type=tf.int32, lower_case=lower_case)

  def tokenize(self, texts: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
    """Pieces of each string: int32, with one more axis than `texts`."""
    if isinstance(texts, tf.RaggedTensor):
      return texts.with_flat_values(self.tokenize(texts.flat_values))
    return self._tokenizer.tokenize(_rewritten(texts)).merge_dims(1, 2)

  def bounds_in_words(self, words: tf.Tensor, indices: tf.Tensor
                      ) -> tuple[tf.Tensor, tf.Tensor]:
    """Where in words, as they stand in a text, one piece of each stands.

    Args:
      words: string [batch], of `split_words`.
      indices: int [batch], which of its pieces.

    Returns:
      First character of the piece, and the one after its last: int32 [batch].
      Where the tokenizer makes more or fewer characters of a word, those of the
      whole word.
    """
    words = _rewritten(words)
    _, starts, ends = self._tokenizer.tokenize_with_offsets(words)
    read = words
    if self._lower_case:
      # What `BertTokenizer` does before it splits, and counts offsets in.
      read = text.normalize_utf8(text.case_fold_utf8(words), 'NFD')
      read = tf.strings.regex_replace(read, r'\p{Mn}', '')
    size = _num_characters(words)
    is_aligned = tf.equal(size, _num_characters(read))

    def characters_before(offsets):
      offsets = tf.gather(
          offsets.merge_dims(1, 2).to_tensor(), indices, batch_dims=1)
      return _num_characters(
          tf.strings.substr(read, tf.zeros_like(offsets), offsets))
    return (tf.where(is_aligned, characters_before(starts), 0),
            tf.where(is_aligned, characters_before(ends), size))


def _rewritten(texts: tf.Tensor) -> tf.Tensor:
  texts = tf.strings.regex_replace(texts, _SPACES, ' ')
  return tf.strings.regex_replace(texts, _NEW_PUNCTUATION, r' \0 ')


def _num_characters(texts: tf.Tensor) -> tf.Tensor:
  return tf.strings.length(texts, 'UTF8_CHAR')


def split_words(texts: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
  """Words of strings as they stand there, and where.

  No piece crosses their edges: the pieces of the words, one after the other, are
  those of the text.

  Args:
    texts: string [batch].

  Returns:
    string [batch, (words)], and int64 alike, the byte at which a word starts.
  """
  # It would end a string for the op; as a blank it keeps all places.
  texts = tf.strings.regex_replace(texts, r'\x00', ' ')
  words, starts, _ = text.regex_split_with_offsets(
      texts, rf'\s+|{_SPACES}|{_SIGNS}', _SIGNS)
  return words, starts


def served_tokenizer(vocabulary_file: str, *, lower_case: bool
                     ) -> tuple[Tokenizer, PortableTokenizer]:
  """A tokenizer for signatures, and what does its work.

  A SavedModel has to hold the `table` of the second one.

  Raises:
    ValueError: the vocabulary cannot be used.
  """
  portable = PortableTokenizer(vocabulary_file, lower_case=lower_case)
  tokenizer = Tokenizer(
      read_vocabulary(vocabulary_file), lower_case=lower_case,
      pieces_of=portable.tokenize)
  return tokenizer, portable
