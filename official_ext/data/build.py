"""The whole preparation, from input files to manifest, in order."""

import collections
import contextlib
import hashlib
import importlib.metadata
import os
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from official_ext.data import embedded_corpus
from official_ext.data import record_index
from official_ext.data import vocabulary as vocabulary_lib
from official_ext.data.manifest import Manifest
from official_ext.data.manifest import Split
from official_ext.data.output_directory import OutputDirectory
from official_ext.data.progress import Progress
from official_ext.data.reader import Block
from official_ext.data.reader import expand_inputs
from official_ext.data.reader import InputFile
from official_ext.data.reader import open_stream
from official_ext.data.reader import read_blocks
from official_ext.data.records import row_dtype
from official_ext.data.sentence_pairs import concatenate
from official_ext.data.settings import PrepareSettings
from official_ext.data.shards import write_shard
from official_ext.data.workers import num_cores
from official_ext.data.workers import result
from official_ext.data.workers import Workers

DEFAULT_VOCAB_SIZE = 8192
# Held-out documents, and what fills no causal sequence, are made into rows when
# so many tokens of them have been gathered from blocks.
_GATHERED_TOKENS = 1 << 18
# The seeds of chunks are their numbers; those of left-over text count downwards
# from here, those of blocks upwards from 0.
_LAST_CHUNK = (1 << 32) - 1


def prepare(output_dir: str, inputs: Sequence[str] = (),
            settings: PrepareSettings = PrepareSettings(), *,
            num_workers: int | None = None,
            say: Callable[[str], None] = print) -> Manifest:
  """Makes a data directory of pre-training examples.

  Args:
    output_dir: where to put them; local or remote.
    inputs: globs of text files; none means the embedded corpus.
    settings: everything else that decides the bytes.
    num_workers: processes; None means one a core. The bytes do not depend on
      it. With 1, all is done in this process.
    say: where messages go.

  Returns:
    The manifest, new or, if the same data set is there already, the old one.

  Raises:
    ValueError: if settings, inputs or output directory cannot be used.
    OSError: if a file cannot be read or written.
  """
  if num_workers is not None and num_workers < 1:
    raise ValueError(
        f'num_workers is {num_workers}; give a whole number of at least 1')
  vocabulary = _given_vocabulary(settings)
  corpus = _corpus(inputs)
  output = OutputDirectory(output_dir)
  existing = output.existing_manifest()
  if existing is not None:
    output.check_same(existing, settings, corpus, vocabulary)
    say(f'{output_dir} already holds this data set; nothing to do')
    return existing
  workers = Workers(num_workers or num_cores())
  try:
    output.begin()
    files = expand_inputs(inputs)
    if not inputs:
      path = os.path.join(output.spill_dir, 'embedded.txt')
      corpus |= embedded_corpus.write_corpus(
          path, workers.num_workers, settings.max_input_bytes)
      files = expand_inputs([path])
    if vocabulary is None:
      vocabulary = vocabulary_lib.learn_vocabulary(
          vocabulary_lib.sample_text(files),
          settings.vocab_size or DEFAULT_VOCAB_SIZE,
          lower_case=settings.lower_case)
      say(f'learned a vocabulary of {len(vocabulary)} pieces')
    workers.start(settings, vocabulary, output.spill_dir)
    counts, hashes = _spill_corpus(workers, files, settings)
    if inputs:
      for entry, sha256 in zip(corpus['files'], hashes):
        entry['sha256'] = sha256
    splits, index = _write_shards(workers, output, settings, len(vocabulary), counts)
    vocab_bytes = vocabulary_lib.vocabulary_bytes(vocabulary)
    manifest = Manifest(
        objective=settings.objective,
        seq_length=settings.seq_length,
        max_predictions_per_seq=settings.max_predictions_per_seq,
        vocab_size=len(vocabulary),
        vocab_sha256=hashlib.sha256(vocab_bytes).hexdigest(),
        tokenizer={'type': 'FastBertTokenizer',
                   'lower_case': settings.lower_case},
        seed=settings.seed, settings=settings.manifest_settings(),
        corpus=corpus, splits=splits,
        versions={name: importlib.metadata.version(name) for name in (
            'numpy', 'tensorflow', 'tensorflow-text', 'tokenizers')},
        index=record_index.describe_index(index))
    output.finish(manifest, vocab_bytes, index)
  except BaseException:
    workers.close()
    output.abandon()
    raise
  workers.close()
  return manifest


def _given_vocabulary(settings: PrepareSettings) -> list[str] | None:
  if settings.vocab_file is None:
    return None
  vocabulary = vocabulary_lib.read_vocabulary(settings.vocab_file)
  if settings.vocab_size not in (None, len(vocabulary)):
    raise ValueError(
        f'vocab_size is {settings.vocab_size}, but {settings.vocab_file} holds '
        f'{len(vocabulary)} pieces; leave out vocab_size')
  return vocabulary


def _corpus(inputs: Sequence[str]) -> dict[str, Any]:
  """What the manifest says of the corpus before it has been read."""
  if not inputs:
    return {'kind': 'embedded', 'fingerprint': embedded_corpus.fingerprint()}
  return {'kind': 'files', 'files': [
      {'path': file.path, 'bytes': file.num_bytes}
      for file in expand_inputs(inputs)]}


def _read(files: Sequence[InputFile], max_input_bytes: int | None,
          hashes: list[str]) -> Iterator[tuple[Block, int]]:
  """Yields each block, and the stored bytes read up to there."""
  text_bytes = stored_bytes = 0
  for file in files:
    with contextlib.closing(open_stream(file.path)) as stream:
      for block in read_blocks(file, stream):
        if max_input_bytes is not None and text_bytes >= max_input_bytes:
          break
        text_bytes += len(block.data)
        yield block, stored_bytes + stream.bytes_read
      while stream.read(1 << 20):  # To hash what was not worked on, too.
        pass
      stored_bytes += stream.bytes_read
      hashes.append(stream.sha256())


def _spill_corpus(workers: Workers, files: Sequence[InputFile],
                  settings: PrepareSettings):
  """Has every block worked on.

  Returns:
    counts: {split: [documents, tokens]}, and the files' SHA-256 in order.
  """
  counts = {'train': [0, 0], 'eval': [0, 0]}
  hashes = []
  held_out, held_out_chunk = [], 0
  left_over, left_over_chunk = [], _LAST_CHUNK
  # (future, bytes read) in the order of submission; a bounded number of blocks
  # is in memory at once.
  pending = collections.deque()
  progress = Progress(
      'tokenising', sum(file.num_bytes for file in files), 'B')

  def gather(future, bytes_read):
    outcome = result(future)
    if outcome is not None:
      counts['train'][0] += outcome.documents
      counts['train'][1] += outcome.tokens
      if outcome.held_out.num_documents:
        held_out.append(outcome.held_out)
      if len(outcome.left_over):
        left_over.append(outcome.left_over)
    progress.advance_to(bytes_read)
    # After every block, whenever it was done: the chunks do not depend on how
    # many blocks are under way.
    if sum(len(d.ids) for d in held_out) >= _GATHERED_TOKENS:
      flush_held_out()
    if sum(map(len, left_over)) >= _GATHERED_TOKENS:
      flush_left_over()

  def flush_held_out():
    nonlocal held_out_chunk
    documents = concatenate(held_out)
    held_out.clear()
    counts['eval'][0] += documents.num_documents
    counts['eval'][1] += len(documents.ids)
    pending.append((workers.submit(
        'spill_documents', documents, 'eval', held_out_chunk), progress.done))
    held_out_chunk += 1

  def flush_left_over():
    nonlocal left_over_chunk
    stream = np.concatenate(left_over)
    left_over.clear()
    pending.append((workers.submit(
        'spill_stream', stream, 'train', left_over_chunk), progress.done))
    left_over_chunk -= 1

  for chunk, (block, bytes_read) in enumerate(
      _read(files, settings.max_input_bytes, hashes)):
    pending.append(
        (workers.submit('process_block', block, chunk), bytes_read))
    while len(pending) > 2 * workers.num_workers:
      gather(*pending.popleft())
  while pending:
    gather(*pending.popleft())
  if held_out:
    flush_held_out()
  if left_over:
    flush_left_over()
  while pending:
    gather(*pending.popleft())
  progress.close()
  _check_counts(counts, settings)
  return counts, hashes


def _check_counts(counts, settings: PrepareSettings) -> None:
  documents = counts['train'][0] + counts['eval'][0]
  if not documents:
    raise ValueError('the input holds no text; give files with some')
  for split, wanted in (('train', True), ('eval', settings.eval_fraction > 0)):
    if wanted and not counts[split][0]:
      raise ValueError(
          f'none of the {documents} documents fell into the {split} split with '
          f'eval_fraction {settings.eval_fraction}; separate documents by '
          'blank lines, give more text, or change --eval_fraction (0 holds '
          'nothing out)')


def _write_shards(workers: Workers, output: OutputDirectory,
                  settings: PrepareSettings, vocab_size: int,
                  counts) -> tuple[dict[str, Split], bytes]:
  dtype = row_dtype(
      settings.seq_length, settings.max_predictions_per_seq, vocab_size)
  futures = {
      split: [
          workers.submit_function(
              write_shard, output.spill_dir, split, number, num_shards, dtype,
              output.shard_path(
                  f'{split}-{number:05d}-of-{num_shards:05d}.tfrecord'))
          for number in range(num_shards)]
      for split, num_shards in (('train', settings.num_shards),
                                ('eval', settings.num_eval_shards))
      if num_shards}
  progress = Progress(
      'shuffling', sum(len(f) for f in futures.values()), 'shards')
  splits, entries, done = {}, [], 0
  for split, of_split in futures.items():
    shards = []
    for future in of_split:
      shard, of_shard = result(future)
      shards.append(shard)
      entries.append(of_shard)
      done += 1
      progress.advance_to(done)
    splits[split] = Split(
        sum(shard.examples for shard in shards), *counts[split], tuple(shards))
  progress.close()
  return splits, record_index.index_bytes(np.concatenate(entries))
