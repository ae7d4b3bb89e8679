"""From ids to pieces, in a SavedModel whose asset is the vocabulary."""

import tensorflow as tf


def piece_table(vocabulary_file: str) -> tf.lookup.StaticHashTable:
  """Looks up pieces, string, by their ids, int64.

  Args:
    vocabulary_file: pieces, one a line; becomes an asset of whatever holds the
      table when it is saved.
  """
  return tf.lookup.StaticHashTable(
      tf.lookup.TextFileInitializer(
          vocabulary_file, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER,
          tf.string, tf.lookup.TextFileIndex.WHOLE_LINE),
      default_value='[UNK]')
