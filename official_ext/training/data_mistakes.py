"""What keeps a data directory from feeding a run."""

from collections.abc import Mapping
import concurrent.futures
import os
from typing import Any

from official_ext.data.manifest import Manifest
from official_ext.data.manifest import Shard
from official_ext.data.manifest import VOCABULARY_FILE
from official_ext.data.record_index import DamagedRecordError
from official_ext.data.record_index import walk_records
from official_ext.data.stored_file import file_exists
from official_ext.data.stored_file import file_sha256
from official_ext.data.stored_file import file_size
from official_ext.mistakes import one_line

_STATS_AT_ONCE = 16
_OBJECTIVES = {'bert': 'masked_lm', 'gpt': 'causal_lm'}


def data_mistakes(config: Any, manifest: Manifest, wrong: set[str]
                  ) -> list[str]:
  """Lists what is wrong with `data_dir` for a run.

  Args:
    config: a `PretrainConfig`.
    manifest: of `config.data_dir`.
    wrong: fields of `config` that are wrong by themselves, and not to be used.
  """
  wanted = _OBJECTIVES[config.architecture.family]
  if manifest.objective != wanted:
    return [
        f'data: objective is {manifest.objective} in the manifest of '
        f'{config.data_dir}, but a {config.architecture.family.upper()} is '
        f'trained with {wanted}; prepare the data with --objective {wanted}']
  found = []
  pairs = (
      ('seq_length', 'sequence_length', config.architecture.sequence_length,
       'model.max_positions'),
      ('max_predictions_per_seq', 'num_predictions', config.num_predictions,
       'train.num_predictions'),
      ('vocab_size', 'vocab_size', config.architecture.vocab_size,
       'model.vocab_size'),
  )
  for in_data, in_model, wanted, setting in pairs:
    stored = getattr(manifest, in_data)
    if stored != wanted:
      found.append(
          f'data: {in_data} is {stored} in the manifest of {config.data_dir}, '
          f'but {in_model} is {wanted} in the model; set {setting} to '
          f'{stored} or prepare the data again')
  found += _share_mistakes(config, manifest, wrong)
  if config.vocab_sha256 and manifest.vocab_sha256 != config.vocab_sha256:
    found.append(
        f'data: the vocabulary of {config.data_dir} has the hash '
        f'{manifest.vocab_sha256}, but vocab_sha256 is {config.vocab_sha256}; '
        'use the data that the hash came from')
  batch_size = None if 'batch_size' in wrong else config.batch_size
  found += [f'data: {line}' for line in _content_mistakes(
      config.data_dir or '', manifest, batch_size)]
  if not (manifest.splits.get('eval') and manifest.splits['eval'].examples):
    found.append(
        f'data: {config.data_dir} has no held-out examples; prepare more text')
  return found


def stage_data_mistakes(config: Any, manifest: Manifest | None) -> list[str]:
  """Lists what is wrong with `stage_data_dirs` for the stages of a sound run.

  Args:
    config: a `PretrainConfig`.
    manifest: of `config.data_dir`; None leaves the contents unchecked.
  """
  found, by_length = [], {}
  for path in config.stage_data_dirs:
    try:
      short = Manifest.read(path)
    except (OSError, ValueError) as error:
      found.append(f'stage_data_dirs: {one_line(error).rstrip(".")}')
      continue
    if short.seq_length in by_length:
      found.append(
          f'stage_data_dirs: {path} and {by_length[short.seq_length]} both hold '
          f'sequences of {short.seq_length} tokens; drop one')
    by_length[short.seq_length] = path
    if manifest is not None:
      found += _differences(path, short, config.data_dir, manifest)
      found += _share_mistakes(config, short, set())
      found += [f'stage_data_dirs: {line}' for line in _content_mistakes(
          path, short, config.batch_size)]
  if found:
    return found
  lengths = {stage.architecture.sequence_length: stage.name
             for stage in config.resolve()}
  full = config.architecture.sequence_length
  for length, name in lengths.items():
    if length != full and length not in by_length:
      found.append(
          f'stage_data_dirs: no data of {length} tokens for stage {name!r}; '
          f'prepare the text with --seq_length {length} and the same '
          '--vocab_file, and add the directory')
  for length, path in by_length.items():
    if length not in lengths or length == full:
      found.append(
          f'stage_data_dirs: no shorter stage reads the sequences of {length} '
          f'tokens of {path}; drop it')
  return found


def _share_mistakes(config: Any, manifest: Manifest, wrong: set[str]
                    ) -> list[str]:
  """Says if more tokens are to be masked than the records have slots for."""
  names = ('masking', 'masked_share', 'final_masked_share')
  if wrong & {*names, 'num_steps'} or config.masking != 'dynamic' or (
      config.masked_share is config.final_masked_share is None):
    return []
  mistake = config.masked_shares(manifest).mistake(
      manifest.seq_length, manifest.max_predictions_per_seq)
  return [f'data: {mistake}'] if mistake else []


def stage_manifests(config: Any, manifest: Manifest
                    ) -> Mapping[int, tuple[str, Manifest]]:
  """Tokens a sequence -> (data directory, its manifest)."""
  manifests = {manifest.seq_length: (config.data_dir, manifest)}
  for path in config.stage_data_dirs:
    short = Manifest.read(path)
    manifests[short.seq_length] = (path, short)
  return manifests


def _content_mistakes(
    path: str, manifest: Manifest, batch_size: int | None) -> list[str]:
  """Lists in what the files of a data directory are not as its manifest says.

  Records are first read when their stage begins, which may be days from now.
  """
  found = []
  vocabulary = os.path.join(path, VOCABULARY_FILE)
  if file_exists(vocabulary):
    actual = file_sha256(vocabulary)
    if actual != manifest.vocab_sha256:
      found.append(
          f'{vocabulary} has the hash {actual}, but its manifest says '
          f'{manifest.vocab_sha256}; the file was changed after the records '
          'were written: prepare the data again')
  train = manifest.splits.get('train')
  examples = train.examples if train else 0
  if batch_size is not None and examples < batch_size:
    found.append(
        f'{path} has {examples} examples to train on, fewer than batch_size '
        f'{batch_size}; prepare more text or use a smaller batch')
  return found + file_mistakes(path, manifest)


def file_mistakes(path: str, manifest: Manifest) -> list[str]:
  """Lists which files of a data directory have not the manifest's size."""
  shards = [shard for split in manifest.splits.values() for shard in split.shards]
  sizes = {stored.file: stored.bytes for stored in [
      *shards, *([manifest.index] if manifest.index else [])]}
  # Remote files answer slowly, one by one.
  with concurrent.futures.ThreadPoolExecutor(_STATS_AT_ONCE) as executor:
    actual_sizes = list(executor.map(
        lambda file: _size(os.path.join(path, file)), sizes))
  wrong = [
      f'{file} (is {"missing" if actual is None else actual}, should be '
      f'{size} bytes)'
      for (file, size), actual in zip(sizes.items(), actual_sizes)
      if actual != size]
  if not wrong:
    return []
  fault = _first_fault(path, [shard for shard, actual in zip(
      shards, actual_sizes) if actual not in (None, shard.bytes)])
  return [f'{len(wrong)} of {len(sizes)} files in {path} are not as its manifest '
          f'says, the first is {wrong[0]}; {fault}copy them again or prepare the '
          'data again']


def _size(path: str) -> int | None:
  return file_size(path) if file_exists(path) else None


def _first_fault(path: str, shards: list[Shard]) -> str:
  """Where the first shard of another size cannot be read; '' if it can be."""
  try:
    for shard in shards[:1]:
      for _ in walk_records(os.path.join(path, shard.file)):
        pass
  except DamagedRecordError as error:
    return f'{str(error).rpartition("; ")[0]}; '
  return ''


def _differences(path: str, short: Manifest, data_dir: str, manifest: Manifest
                 ) -> list[str]:
  return [
      f'stage_data_dirs: {name} of {path} is {getattr(short, name)}, of '
      f'{data_dir} {getattr(manifest, name)}; prepare both alike'
      for name in ('vocab_sha256', 'objective')
      if getattr(short, name) != getattr(manifest, name)]
