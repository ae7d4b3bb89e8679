"""`manifest.json`: what a data directory holds, and how it was made."""

import dataclasses
import json
import os
from typing import Any, Mapping

from official_ext.data.settings import OBJECTIVES
from official_ext.data.stored_file import is_remote

MANIFEST_FILE = 'manifest.json'
VOCABULARY_FILE = 'vocab.txt'
INDEX_FILE = 'record_index.npy'
FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Shard:
  """One TFRecord file.

  Attributes:
    file: its name within the data directory.
    examples: how many it holds.
    bytes: its size.
    sha256: hash of its content.
  """

  file: str
  examples: int
  bytes: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
  """'train' or 'eval'.

  Attributes:
    examples: how many all shards hold.
    documents: documents they were made of.
    tokens: text tokens of those documents, each counted once.
    shards: the files.
  """

  examples: int
  documents: int
  tokens: int
  shards: tuple[Shard, ...]


@dataclasses.dataclass(frozen=True)
class RecordIndex:
  """Where records lie within the shards, so that reading can begin anywhere.

  Attributes:
    file: its name within the data directory; an int64 vector in NumPy's
      format: the byte offsets of records 0, `interval_records`,
      2 * `interval_records`, ... and of the end of each shard, in the
      manifest's order.
    bytes: its size.
    sha256: hash of its content.
    interval_records: records from one entry to the next.
  """

  file: str
  bytes: int
  sha256: str
  interval_records: int


@dataclasses.dataclass(frozen=True)
class Unigram:
  """How well token frequencies alone predict the held-out split.

  A model whose loss is at `cross_entropy` has learnt how often each token
  occurs, and nothing from the tokens around it.

  Attributes:
    cross_entropy: of the held-out predictions in nats, under the frequencies of
      the training split's predictions, each counted once more than it occurs.
    accuracy: of always guessing the training split's most frequent token.
  """

  cross_entropy: float
  accuracy: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What a data directory holds.

  Attributes:
    objective: 'masked_lm' or 'causal_lm': what the examples are for. Manifests
      that do not say are of 'masked_lm'.
    seq_length: tokens an example, padding included.
    max_predictions_per_seq: slots for predictions an example; 0 for causal_lm.
    vocab_size: pieces of `vocab.txt`.
    vocab_sha256: hash of `vocab.txt`.
    tokenizer: `{'type': 'FastBertTokenizer', 'lower_case': ...}`.
    seed: of the whole preparation.
    settings: the other settings: held-out share and, for masked_lm, masking and
      duplication.
    corpus: what was read: `{'kind': 'files', 'files': [{'path', 'bytes',
      'sha256'}, ...]}`, or `{'kind': 'embedded', ...}`.
    splits: by name, 'train' and, unless nothing is held out, 'eval'.
    versions: of the packages that decide the bytes.
    index: of the records; None if there is none, and shards are searched.
    unigram: what token frequencies alone predict; None if nothing is held out,
      or the data is of a version that did not say it.
  """

  seq_length: int
  max_predictions_per_seq: int
  vocab_size: int
  vocab_sha256: str
  tokenizer: Mapping[str, Any]
  seed: int
  settings: Mapping[str, Any]
  corpus: Mapping[str, Any]
  splits: Mapping[str, Split]
  versions: Mapping[str, str]
  objective: str = 'masked_lm'
  index: RecordIndex | None = None
  unigram: Unigram | None = None

  @property
  def is_causal(self) -> bool:
    return self.objective == 'causal_lm'

  def to_json(self) -> str:
    return json.dumps(
        {'format': FORMAT_VERSION, **dataclasses.asdict(self)}, indent=2,
        ensure_ascii=False) + '\n'

  @classmethod
  def from_json(cls, text: str) -> 'Manifest':
    """Parses what `to_json` gave.

    Raises:
      ValueError: if it is not a manifest of this format.
    """
    try:
      fields = json.loads(text)
    except (ValueError, RecursionError) as error:
      raise ValueError(
          f'not a manifest of official_ext.prepare ({error}); prepare the data '
          'again') from error
    try:
      version = fields.pop('format')
      if version != FORMAT_VERSION:
        raise ValueError(
            f'format {version}, expected {FORMAT_VERSION}; prepare the data '
            'again with this version')
      fields['splits'] = {
          name: Split(**{**split, 'shards': tuple(
              Shard(**shard) for shard in split['shards'])})
          for name, split in fields['splits'].items()}
      if fields.get('index'):
        fields['index'] = RecordIndex(**fields['index'])
      if fields.get('unigram'):
        fields['unigram'] = Unigram(**fields['unigram'])
      manifest = cls(**fields)
      _check_kinds(manifest, 'manifest')
      files = [shard.file for split in manifest.splits.values()
               for shard in split.shards]
      for file in files + ([manifest.index.file] if manifest.index else []):
        # Another's manifest must not lead out of its directory.
        if os.path.basename(file) != file:
          raise ValueError(
              f'shard {file!r} is no plain file name; prepare the data again')
      if manifest.objective not in OBJECTIVES:
        raise ValueError(
            f'objective {manifest.objective!r}, expected one of '
            f'{", ".join(OBJECTIVES)}; prepare the data again')
      return manifest
    except (KeyError, TypeError, AttributeError) as error:
      raise ValueError(
          f'not a manifest of official_ext.prepare ({error}); prepare the data '
          'again') from error

  @classmethod
  def read(cls, data_dir: str) -> 'Manifest':
    """Reads the manifest of a data directory.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it cannot be understood.
    """
    path = os.path.join(data_dir, MANIFEST_FILE)
    if is_remote(path):
      import tensorflow as tf
      if not tf.io.gfile.exists(path):
        raise FileNotFoundError(_no_manifest(data_dir))
      with tf.io.gfile.GFile(path) as file:
        text = file.read()
    else:
      try:
        with open(path, encoding='utf-8') as file:
          text = file.read()
      except FileNotFoundError:
        raise FileNotFoundError(_no_manifest(data_dir)) from None
      except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not UTF-8; prepare the data again') from error
    try:
      return cls.from_json(text)
    except ValueError as error:
      raise ValueError(f'{path}: {error}') from error

  def write(self, data_dir: str) -> None:
    """Writes the manifest, all or nothing."""
    path = os.path.join(data_dir, MANIFEST_FILE)
    if is_remote(path):
      import tensorflow as tf
      with tf.io.gfile.GFile(path, 'w') as file:
        file.write(self.to_json())
      return
    with open(path + '.partial', 'w', encoding='utf-8') as file:
      file.write(self.to_json())
      file.flush()
      os.fsync(file.fileno())
    os.replace(path + '.partial', path)


def _check_kinds(record: Any, name: str) -> None:
  """Raises ValueError if a field, at any depth, is not of the kind it has to be."""
  for field in dataclasses.fields(record):
    value, place = getattr(record, field.name), f'{name}.{field.name}'
    if field.type is int:
      is_right = (isinstance(value, int) and not isinstance(value, bool)
                  and value >= 0)
    elif field.type is str:
      is_right = isinstance(value, str)
    elif field.type is float:
      is_right = (isinstance(value, (int, float))
                  and not isinstance(value, bool) and value >= 0)
    else:
      is_right = value is None or isinstance(
          value, (dict, tuple, RecordIndex, Unigram))
    if not is_right:
      raise ValueError(
          f'{place} is {value!r:.60}; prepare the data again, or copy its '
          'manifest again')
  if isinstance(record, Manifest):
    for part in ('index', 'unigram'):
      if getattr(record, part) is not None:
        _check_kinds(getattr(record, part), f'{name}.{part}')
    for split_name, split in record.splits.items():
      _check_kinds(split, f'{name}.splits.{split_name}')
      for shard in split.shards:
        _check_kinds(shard, f'{name}.splits.{split_name}.shards')


def _no_manifest(data_dir: str) -> str:
  return (f'{data_dir} holds no {MANIFEST_FILE}; make the data with '
          f'`python -m official_ext.prepare --output_dir {data_dir}`')
