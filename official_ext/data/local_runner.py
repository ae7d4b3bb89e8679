"""A preparation in worker processes of this machine.

This process only finds where documents end and hands blocks out, a bounded
number at a time; rows go from the workers to the disk, and from there, sorted,
into the shards.
"""

import collections
from collections.abc import Sequence

from official_ext.data import corpus
from official_ext.data.corpus import CorpusFile
from official_ext.data.corpus import FileBlocks
from official_ext.data.corpus import Gathering
from official_ext.data.duplicates import DuplicateFilter
from official_ext.data.outcome import Outcome
from official_ext.data.outcome import shard_names
from official_ext.data.output_directory import OutputDirectory
from official_ext.data.progress import Progress
from official_ext.data.records import row_dtype
from official_ext.data.settings import PrepareSettings
from official_ext.data.shards import write_shard
from official_ext.data.workers import result
from official_ext.data.workers import Workers


def run(workers: Workers, files: Sequence[CorpusFile],
        settings: PrepareSettings, vocabulary: Sequence[str],
        output: OutputDirectory, *, finds_duplicates: bool = False) -> Outcome:
  """Makes the shards of a corpus.

  Args:
    workers: not yet started.
    files: the corpus.
    settings: of the preparation.
    vocabulary: the pieces.
    output: where shards and rows on their way go.
    finds_duplicates: whether repeated paragraphs are left out.

  Raises:
    ValueError: if text cannot be used, or a split stays empty.
    OSError: if a file cannot be read or written, or a worker dies.
  """
  workers.start(settings, vocabulary, output.spill_dir)
  outcome = Outcome.nothing_yet(list(files))
  _Spilling(workers, files, settings, outcome, finds_duplicates).run()
  outcome.check_counts(settings)
  _write_shards(workers, output, settings, len(vocabulary), outcome)
  return outcome


class _Spilling:
  """Has every block worked on, and what is gathered from blocks."""

  def __init__(self, workers: Workers, files: Sequence[CorpusFile],
               settings: PrepareSettings, outcome: Outcome,
               finds_duplicates: bool):
    self._workers, self._files, self._settings = workers, files, settings
    self._outcome = outcome
    self._duplicates = (
        DuplicateFilter() if finds_duplicates else None)
    self._held_out = Gathering(corpus.HELD_OUT)
    self._left_over = Gathering(corpus.LEFT_OVER)
    # In the order of submission; a bounded number is in memory at once.
    self._blocks, self._gathered = collections.deque(), collections.deque()
    self._progress = Progress(
        'tokenising', sum(file.file.num_bytes for file in files), 'B')

  def run(self) -> None:
    bytes_before = 0
    for file in self._files:
      blocks = FileBlocks(file, self._settings.skips_bad_text)
      for number, block in enumerate(blocks.read()):
        if self._duplicates:
          block = self._duplicates.mark(block)
        future = self._workers.submit(
            'process_block', block, file.number, number)
        self._blocks.append((
            future, file.gathering_of(number), bytes_before + blocks.bytes_read))
        while len(self._blocks) > 2 * self._workers.num_workers:
          self._finish_block()
      bytes_before += blocks.bytes_read
      self._outcome.sha256[file.number] = blocks.sha256
      self._outcome.bad_text.add(blocks.bad_text)
    while self._blocks:
      self._finish_block()
    for gathering in (self._held_out, self._left_over):
      self._submit(gathering.close())
    while self._gathered:
      self._finish_gathered()
    self._progress.close()
    if self._duplicates:
      self._outcome.duplicates = self._duplicates.describe()

  def _finish_block(self) -> None:
    future, name, bytes_read = self._blocks.popleft()
    made = result(future)
    self._outcome.count('train', made.documents, made.tokens)
    self._outcome.bad_text.add(made.bad_text)
    self._submit(self._held_out.add(name, made.held_out, len(made.held_out.ids)))
    self._submit(self._left_over.add(name, made.left_over, len(made.left_over)))
    self._progress.advance_to(bytes_read)

  def _submit(self, parts) -> None:
    for name, pieces in parts:
      self._gathered.append(
          self._workers.submit('process_gathered', name, pieces))
    while len(self._gathered) > self._workers.num_workers:
      self._finish_gathered()

  def _finish_gathered(self) -> None:
    self._outcome.count('eval', *result(self._gathered.popleft()))


def _write_shards(workers: Workers, output: OutputDirectory,
                  settings: PrepareSettings, vocab_size: int,
                  outcome: Outcome) -> None:
  dtype = row_dtype(
      settings.seq_length, settings.max_predictions_per_seq, vocab_size)
  names = shard_names(settings)
  futures = {
      split: [
          workers.submit_function(
              write_shard, output.spill_dir, split, number, len(of_split),
              dtype, output.shard_path(name))
          for number, name in enumerate(of_split)]
      for split, of_split in names.items()}
  progress = Progress(
      'shuffling', sum(len(f) for f in futures.values()), 'shards')
  for split, of_split in futures.items():
    outcome.shards[split] = []
    for future in of_split:
      outcome.shards[split].append(result(future))
      progress.advance_to(progress.done + 1)
  progress.close()
