"""The files of a Hugging Face model: safetensors, JSON and the vocabulary.

Nothing is ever unpickled: a pickle can run any code of its maker's.
"""

from collections.abc import Mapping, Sequence
import fnmatch
import json
import os
from typing import Any

import ml_dtypes as _  # Gives NumPy the bfloat16 that safetensors asks it for.
import numpy as np
import safetensors
import safetensors.numpy

from official_ext.data.vocabulary import check_vocabulary
from official_ext.data.vocabulary import read_vocabulary as read_pieces
from official_ext.data.vocabulary import vocabulary_bytes

CONFIG_FILE = 'config.json'
WEIGHTS_FILE = 'model.safetensors'
INDEX_FILE = 'model.safetensors.index.json'
VOCABULARY_FILE = 'vocab.txt'
TOKENIZER_FILE = 'tokenizer.json'
TOKENIZER_CONFIG_FILE = 'tokenizer_config.json'

_PICKLED = ('*.bin', '*.pt', '*.pth', '*.ckpt', '*.pkl')


def read_json(directory: str, name: str) -> dict[str, Any]:
  """The object in a JSON file.

  Raises:
    ValueError: the file holds no JSON object.
    OSError: there is no such file.
  """
  path = os.path.join(directory, name)
  with open(path, encoding='utf-8') as file:
    try:
      content = json.load(file)
    except ValueError as error:
      raise ValueError(f'{path} is not JSON: {error}.') from error
  if not isinstance(content, dict):
    raise ValueError(f'{path} holds no JSON object.')
  return content


def read_tensors(directory: str) -> dict[str, np.ndarray]:
  """Every tensor of `model.safetensors`, or of the shards that its index lists.

  Raises:
    ValueError: there are none, or they are damaged; the message says how to
      make them of pickled ones.
  """
  names = sorted(os.listdir(directory))
  if INDEX_FILE in names:
    shards = _shards(directory)
  elif WEIGHTS_FILE in names:
    shards = {WEIGHTS_FILE: None}
  else:
    raise ValueError(_no_weights(directory, names))
  tensors = {}
  for shard, expected in shards.items():
    path = os.path.join(directory, shard)
    try:
      with safetensors.safe_open(path, framework='numpy') as file:
        found = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, safetensors.SafetensorError) as error:
      raise ValueError(f'{path} cannot be read: {error}.') from error
    missing = sorted(set(expected or ()) - found.keys())
    if missing:
      raise ValueError(
          f'{path} lacks {", ".join(missing)}, which {INDEX_FILE} says are '
          'there; copy all files of one model.')
    tensors |= found
  return tensors


def write_tensors(directory: str, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes `model.safetensors`."""
  # 'pt' is what transformers looks for; it says who names the tensors.
  safetensors.numpy.save_file(
      dict(tensors), os.path.join(directory, WEIGHTS_FILE),
      metadata={'format': 'pt'})


def write_json(directory: str, name: str, content: Mapping[str, Any]) -> None:
  with open(os.path.join(directory, name), 'w', encoding='utf-8') as file:
    json.dump(content, file, indent=2)
    file.write('\n')


def read_vocabulary(directory: str) -> tuple[str, ...] | None:
  """Pieces in the order of their ids; None if the model comes without.

  They are in `vocab.txt`, or else in `tokenizer.json`.

  Raises:
    ValueError: a special token is missing, or `tokenizer.json` is of another
      tokenizer than WordPiece.
  """
  path = os.path.join(directory, VOCABULARY_FILE)
  if os.path.exists(path):
    return tuple(read_pieces(path))
  if not os.path.exists(os.path.join(directory, TOKENIZER_FILE)):
    return None
  model = read_json(directory, TOKENIZER_FILE).get('model', {})
  if model.get('type') != 'WordPiece':
    raise ValueError(
        f'{directory}/{TOKENIZER_FILE} is a {model.get("type")} tokenizer; a '
        'BERT has a WordPiece one, give its vocab.txt.')
  pieces = tuple(sorted(model['vocab'], key=model['vocab'].get))
  try:
    check_vocabulary(pieces)
  except ValueError as error:
    raise ValueError(f'{directory}/{TOKENIZER_FILE}: {error}') from error
  return pieces


def reads_lower_case(directory: str) -> bool:
  """Whether the tokenizer lower-cases; true if nothing is said of it."""
  if os.path.exists(os.path.join(directory, TOKENIZER_CONFIG_FILE)):
    said = read_json(directory, TOKENIZER_CONFIG_FILE).get('do_lower_case')
    if said is not None:
      return bool(said)
  if os.path.exists(os.path.join(directory, TOKENIZER_FILE)):
    normalizer = read_json(directory, TOKENIZER_FILE).get('normalizer') or {}
    return bool(normalizer.get('lowercase', True))
  return True


def write_vocabulary(directory: str, vocabulary: Sequence[str]) -> None:
  """Writes `vocab.txt`."""
  with open(os.path.join(directory, VOCABULARY_FILE), 'wb') as file:
    file.write(vocabulary_bytes(vocabulary))


def write_tokenizer(directory: str, vocabulary: Sequence[str], *,
                    lower_case: bool, max_positions: int) -> None:
  """Writes `vocab.txt` and `tokenizer_config.json`."""
  write_vocabulary(directory, vocabulary)
  write_json(directory, TOKENIZER_CONFIG_FILE, {
      'tokenizer_class': 'BertTokenizer', 'do_lower_case': lower_case,
      'model_max_length': max_positions, 'unk_token': '[UNK]',
      'sep_token': '[SEP]', 'pad_token': '[PAD]', 'cls_token': '[CLS]',
      'mask_token': '[MASK]'})


def _shards(directory: str) -> dict[str, list[str]]:
  """File name to the tensors that the index says it holds."""
  shards: dict[str, list[str]] = {}
  for tensor, file in read_json(directory, INDEX_FILE)['weight_map'].items():
    if os.path.basename(file) != file:
      raise ValueError(
          f'{directory}/{INDEX_FILE} names {file!r}; expected files beside it.')
    shards.setdefault(file, []).append(tensor)
  return shards


def _no_weights(directory: str, names: Sequence[str]) -> str:
  pickled = [name for name in names
             if any(fnmatch.fnmatch(name, pattern) for pattern in _PICKLED)]
  if not pickled:
    return (f'{directory} has no {WEIGHTS_FILE}; give the directory of a '
            'Hugging Face model.')
  return (
      f'{directory} has no {WEIGHTS_FILE}, only {pickled[0]}, a pickle, which '
      'can run any code and is never read; if you trust its maker, convert it '
      'in Python: transformers.AutoModelForPreTraining.from_pretrained('
      f'{directory!r}).save_pretrained(NEW_DIRECTORY).')
