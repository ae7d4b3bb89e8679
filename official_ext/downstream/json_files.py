"""JSON files that are whole, or not there; local or remote."""

import json
from typing import Any

import tensorflow as tf

from official_ext.training.durable_files import write_whole


def write_json(path: str, content: Any) -> None:
  """Writes a file, and puts it in place at once."""
  write_whole(path, json.dumps(content, indent=2) + '\n')


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
