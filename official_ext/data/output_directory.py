"""The directory that a data set is written to: all of it, or nothing.

Work goes on in `.partial` inside it; for a remote directory, in a local
temporary directory, with `.partial/unfinished` as the mark, unless several
machines work together: then the finished shards are gathered in `.partial`. The manifest comes
last, so a directory with a manifest is complete.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from typing import Any, Sequence

from official_ext.data.manifest import INDEX_FILE
from official_ext.data.manifest import Manifest
from official_ext.data.manifest import MANIFEST_FILE
from official_ext.data.manifest import VOCABULARY_FILE
from official_ext.data.settings import PrepareSettings
from official_ext.data.stored_file import file_sha256
from official_ext.data.stored_file import has_no_locks
from official_ext.data.stored_file import is_remote
from official_ext.data.stored_file import move_file
from official_ext.data.stored_file import write_bytes
from official_ext.data.vocabulary import vocabulary_bytes

_WORK = '.partial'
_DATA_FILE = re.compile(
    r'(train|eval)-.*\.tfrecord|' + '|'.join(
        map(re.escape, (VOCABULARY_FILE, INDEX_FILE))))


class OutputDirectory:
  """Where a data set goes.

  Attributes:
    path: of the directory.
    spill_dir: a local directory for rows on their way; removed in the end.
  """

  def __init__(self, path: str):
    self.path = path
    self._remote = is_remote(path)
    self._was_there = True
    self._local = ''
    self._work = ''
    self._lock = None
    self.spill_dir = ''

  def existing_manifest(self) -> Manifest | None:
    """The manifest of the data set that is there, if one is.

    Raises:
      ValueError: if the directory holds data files without a manifest that no
        unfinished preparation left there.
    """
    names = self._names()
    if MANIFEST_FILE in names:
      return Manifest.read(self.path)
    foreign = sorted(name for name in names if _DATA_FILE.fullmatch(name))
    if foreign and _WORK not in names:
      raise ValueError(
          f'{self.path} holds {foreign[0]} but no {MANIFEST_FILE}; it is not '
          'overwritten: move those files away or give another --output_dir')
    return None

  def check_same(self, manifest: Manifest, settings: PrepareSettings,
                 corpus: dict[str, Any],
                 vocabulary: Sequence[str] | None) -> None:
    """Checks that an existing data set is what is being asked for.

    Raises:
      ValueError: listing what differs, or what is missing.
    """
    differences = []

    def compare(name, there, asked):
      if there != asked:
        differences.append(f'{name} is {there} there and {asked} here')

    compare('objective', manifest.objective, settings.objective)
    compare('seq_length', manifest.seq_length, settings.seq_length)
    compare('max_predictions_per_seq', manifest.max_predictions_per_seq,
            settings.max_predictions_per_seq)
    compare('lower_case', manifest.tokenizer.get('lower_case'),
            settings.lower_case)
    compare('seed', manifest.seed, settings.seed)
    # Older manifests do not record it. Then only the embedded corpus was free of
    # repeated paragraphs.
    stored = {'remove_duplicates': manifest.corpus.get('kind') == 'embedded',
              **manifest.settings}
    for name, asked in settings.manifest_settings().items():
      compare(name, stored.get(name), asked)
    if vocabulary is not None:
      compare('vocabulary hash', manifest.vocab_sha256,
              hashlib.sha256(vocabulary_bytes(vocabulary)).hexdigest())
    elif settings.vocab_size is not None:
      compare('vocab_size', manifest.vocab_size, settings.vocab_size)
    differences += _corpus_differences(manifest.corpus, corpus)
    if differences:
      raise ValueError(
          f'{self.path} holds another data set: {"; ".join(differences)}; give '
          'another --output_dir, or delete that one')
    names = self._names()
    missing = [shard.file for split in manifest.splits.values()
               for shard in split.shards if shard.file not in names]
    others = [VOCABULARY_FILE] + (
        [manifest.index.file] if manifest.index else [])
    missing += [name for name in others if name not in names]
    if missing:
      raise ValueError(
          f'{self.path} has a manifest but lacks {", ".join(missing)}; delete '
          'the directory and prepare the data again')

  def begin(self, *, is_shared: bool = False) -> None:
    """Makes the working directories; clears what a killed run left.

    Args:
      is_shared: whether other machines write shards too: then those of a remote
        directory are put together there.

    Raises:
      ValueError: another preparation is at work in the directory, or was a
        moment ago. Not noticed in a remote one, which has no locks.
    """
    if self._remote:
      import tensorflow as tf
      for name in self._names():
        if _DATA_FILE.fullmatch(name):
          tf.io.gfile.remove(os.path.join(self.path, name))
      tf.io.gfile.makedirs(os.path.join(self.path, _WORK))
      with tf.io.gfile.GFile(
          os.path.join(self.path, _WORK, 'unfinished'), 'w') as mark:
        mark.write('official_ext.prepare\n')
      self._local = tempfile.mkdtemp(prefix='official_ext_prepare_')
      self._work = (
          os.path.join(self.path, _WORK) if is_shared else self._local)
    else:
      self._was_there = os.path.isdir(self.path)
      self._take()
      partial = os.path.join(self.path, _WORK)
      shutil.rmtree(partial, ignore_errors=True)
      os.makedirs(partial)
      # Of a new name: workers of a killed preparation may be writing still.
      self._local = self._work = tempfile.mkdtemp(dir=partial)
      for name in self._names():
        if _DATA_FILE.fullmatch(name):
          os.remove(os.path.join(self.path, name))
    self.spill_dir = os.path.join(self._local, 'spill')
    os.makedirs(self.spill_dir)

  def shard_path(self, name: str) -> str:
    """Where to put a shard until `finish`; local, unless work is shared."""
    return os.path.join(self._work, name)

  def finish(self, manifest: Manifest, vocab_bytes: bytes,
             index_bytes: bytes) -> None:
    """Puts everything in its place, the manifest last."""
    write_bytes(self.shard_path(VOCABULARY_FILE), vocab_bytes)
    write_bytes(self.shard_path(INDEX_FILE), index_bytes)
    names = [shard.file for split in manifest.splits.values()
             for shard in split.shards]
    for name in [*names, VOCABULARY_FILE, INDEX_FILE]:
      move_file(self.shard_path(name), os.path.join(self.path, name))
    manifest.write(self.path)
    self._remove_work()
    if self._remote:
      import tensorflow as tf
      tf.io.gfile.rmtree(os.path.join(self.path, _WORK))
    self._release()

  def abandon(self) -> None:
    """Removes what an unfinished preparation wrote."""
    if self._local:
      self._remove_work()
    # The mark of a remote one stays: some of its shards may be there.
    if not self._remote and not self._was_there and not self._names():
      # What went wrong is what is to be told.
      with contextlib.suppress(OSError):
        os.rmdir(self.path)
    self._release()

  def _remove_work(self) -> None:
    shutil.rmtree(self._local if self._remote
                  else os.path.join(self.path, _WORK), ignore_errors=True)

  def _take(self) -> None:
    """Locks the directory itself; the lock ends with this process."""
    while True:
      os.makedirs(self.path, exist_ok=True)
      self._lock = os.open(self.path, os.O_RDONLY)
      try:
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        # What is there is the other's: nothing of it is to be removed.
        self._was_there = True
        raise ValueError(
            f'{self.path} is being written by another preparation; wait for it '
            'or stop it, or give another --output_dir') from None
      except OSError as error:
        if not has_no_locks(error):
          raise
      # One that has just given up may have removed the directory locked here.
      with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(self.path), os.fstat(self._lock)):
          break
      self._release()
    if MANIFEST_FILE in self._names():
      raise ValueError(
          f'another preparation has just finished {self.path}; the same command '
          'says whether it is the same data set')

  def _release(self) -> None:
    if self._lock is not None:
      os.close(self._lock)
      self._lock = None

  def _names(self) -> list[str]:
    if self._remote:
      import tensorflow as tf
      if not tf.io.gfile.exists(self.path):
        return []
      return [name.rstrip('/') for name in tf.io.gfile.listdir(self.path)]
    if not os.path.exists(self.path):
      return []
    if not os.path.isdir(self.path):
      raise ValueError(
          f'--output_dir {self.path} is a file; give a directory')
    return os.listdir(self.path)


def _corpus_differences(there, here) -> list[str]:
  """What differs between a manifest's corpus and the one asked for."""
  if there['kind'] != here['kind']:
    return [f'the corpus is {there["kind"]} there and {here["kind"]} here']
  if there['kind'] == 'embedded':
    return [] if there['fingerprint'] == here['fingerprint'] else [
        'the installed packages have changed']
  if len(there['files']) != len(here['files']):
    return [f'the corpus has {len(there["files"])} input files there and '
            f'{len(here["files"])} here']
  return [
      f'the content of {new["path"]} is not what it was'
      for old, new in zip(there['files'], here['files'])
      # Hashing what has another size is not needed.
      if old['bytes'] != new['bytes']
      or old['sha256'] != file_sha256(new['path'])]
