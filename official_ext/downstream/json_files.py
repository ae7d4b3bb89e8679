"""JSON files that are whole, or not there."""

import json
from typing import Any

import tensorflow as tf


def write_json(path: str, content: Any) -> None:
  """Writes a file, local or remote, and puts it in place at once."""
  partial = path + '.partial'
  with tf.io.gfile.GFile(partial, 'w') as file:
    file.write(json.dumps(content, indent=2) + '\n')
  tf.io.gfile.rename(partial, path, overwrite=True)


def read_json(path: str) -> Any:
  """The content of a file; None if there is none.

  Raises:
    ValueError: it is not JSON.
  """
  if not tf.io.gfile.exists(path):
    return None
  with tf.io.gfile.GFile(path) as file:
    try:
      return json.loads(file.read())
    except ValueError as error:
      raise ValueError(f'{path} is not JSON: {error}.') from error
