"""A preparation on Apache Beam: the same chunks, on as many machines as it has.

    files -> blocks -> rows of training text ---------------> shards -> outcome
                   \\-> held-out text, ends -> parts -> rows -^

Rows are grouped by shard; a shard's worker sorts its rows and writes its file.
The rows of a chunk depend on the seed and the chunk's name alone, and so the
bytes are those of the local runner. What the manifest needs comes back as one
small JSON file.
"""

import base64
import dataclasses
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
import numpy as np

from official_ext.data import corpus
from official_ext.data.bad_text import BadText
from official_ext.data.bad_text import SHOWN
from official_ext.data.chunks import ChunkMaker
from official_ext.data.corpus import ChunkName
from official_ext.data.corpus import CorpusFile
from official_ext.data.corpus import FileBlocks
from official_ext.data.corpus import Gathering
from official_ext.data.manifest import Shard
from official_ext.data.outcome import Outcome
from official_ext.data.outcome import shard_names
from official_ext.data.output_directory import OutputDirectory
from official_ext.data.reader import Block
from official_ext.data.records import row_dtype
from official_ext.data.settings import PrepareSettings
from official_ext.data.shards import spill_rows
from official_ext.data.shards import write_shard
from official_ext.data.shards import WrittenShard
from official_ext.data.stored_file import is_remote
from official_ext.data.stored_file import move_file
from official_ext.data.stored_file import read_bytes
from official_ext.data.stored_file import write_bytes

# Beam's own for one machine. (Its DirectRunner looks for another one to
# download first.)
_DEFAULT_RUNNER = 'runner=FnApiRunner'
_OUTCOME_FILE = 'outcome.json'
# With fewer files than this, one worker for each would be few; their blocks are
# dealt out anew, at the price of sending the text.
_MANY_FILES = 256
# Sorts what is said of a whole file behind what is said of its blocks.
_BEHIND_ALL_BLOCKS = 1 << 62
_ROWS, _COUNTS, _HELD_OUT, _LEFT_OVER, _HASHES, _BAD_TEXT = (
    'rows', 'counts', 'held_out', 'left_over', 'hashes', 'bad_text')


def run(options: Sequence[str], files: Sequence[CorpusFile],
        settings: PrepareSettings, vocabulary: Sequence[str],
        output: OutputDirectory) -> Outcome:
  """Makes the shards of a corpus.

  Args:
    options: of Beam's pipeline, as NAME=VALUE or NAME.
    files: the corpus.
    settings: of the preparation.
    vocabulary: the pieces.
    output: where shards go; every machine must reach it.

  Raises:
    ValueError: if text or options cannot be used, or a split stays empty.
    OSError: if a file cannot be read or written, or Beam fails.
  """
  if not any(option.startswith('runner=') for option in options):
    options = [_DEFAULT_RUNNER, *options]
  pipeline = beam.Pipeline(options=_pipeline_options(options))
  _build(pipeline, files, settings, vocabulary, output)
  try:
    pipeline.run().wait_until_finish()
  except Exception as error:  # pylint: disable=broad-except
    # Each of Beam's runners has errors of its own around those of the workers.
    raise _plain_error(error) from error
  outcome = _read_outcome(output.shard_path(_OUTCOME_FILE), files, settings)
  outcome.check_counts(settings)
  return outcome


def _pipeline_options(options: Sequence[str]) -> PipelineOptions:
  given = PipelineOptions([f'--{option.lstrip("-")}' for option in options])
  known = given.get_all_options()
  unknown = [option for option in options
             if option.lstrip('-').partition('=')[0] not in known]
  if unknown:
    raise ValueError(
        f'--beam_pipeline_options: Beam does not know {", ".join(unknown)}; give '
        'NAME=VALUE or NAME of its own options')
  return given


def _plain_error(error: Exception) -> Exception:
  """The worker's own error, if Beam's text holds one of those that users see."""
  # In one process the error itself comes through, else a text with its trace.
  text = f'{type(error).__name__}: {error}'
  found = re.findall(
      r'^(?:\w+\.)*(\w*Error): (.*?)(?: \[while running .*)?$', text,
      re.MULTILINE)
  kinds = {'ValueError': ValueError, 'FileNotFoundError': OSError,
           'PermissionError': OSError, 'OSError': OSError}
  for kind, message in reversed(found):
    if kind in kinds:
      return kinds[kind](message.strip('\'"'))
  return OSError(f'Beam failed: {str(error).strip().splitlines()[-1]}')


def _build(pipeline: beam.Pipeline, files: Sequence[CorpusFile],
           settings: PrepareSettings, vocabulary: Sequence[str],
           output: OutputDirectory) -> None:
  read = (
      pipeline
      | 'Files' >> beam.Create(list(files))
      | 'DealOutFiles' >> beam.Reshuffle()
      | 'ReadBlocks' >> beam.ParDo(_ReadBlocks(settings)).with_outputs(
          _HASHES, _BAD_TEXT, main='blocks'))
  blocks = read.blocks
  if len(files) < _MANY_FILES:
    blocks |= 'DealOutBlocks' >> beam.Reshuffle()
  made = blocks | 'MakeRows' >> beam.ParDo(
      _MakeRows(settings, vocabulary)).with_outputs(
          _COUNTS, _HELD_OUT, _LEFT_OVER, _BAD_TEXT, main=_ROWS)
  gathered = [
      (made[tag]
       | f'Gather_{tag}' >> beam.GroupByKey()
       | f'MakeRows_{tag}' >> beam.ParDo(
           _MakeGatheredRows(settings, vocabulary, kind)).with_outputs(
               _COUNTS, main=_ROWS))
      for tag, kind in ((_HELD_OUT, corpus.HELD_OUT),
                        (_LEFT_OVER, corpus.LEFT_OVER))]
  shards = (
      [made[_ROWS], *(rows[_ROWS] for rows in gathered),
       # Shards without rows are written too.
       pipeline | 'Shards' >> beam.Create([
           ((split, number), b'') for split, names in shard_names(settings).items()
           for number in range(len(names))])]
      | 'Rows' >> beam.Flatten()
      | 'GroupByShard' >> beam.GroupByKey()
      | 'WriteShards' >> beam.Map(
          _write_shard, settings=settings, work=output.shard_path(''),
          dtype=row_dtype(settings.seq_length, settings.max_predictions_per_seq,
                          len(vocabulary))))
  counts = (
      [made[_COUNTS], *(rows[_COUNTS] for rows in gathered)]
      | 'Counts' >> beam.Flatten()
      | 'AddCounts' >> beam.CombinePerKey(sum))
  bad_text = (
      [read[_BAD_TEXT], made[_BAD_TEXT]]
      | 'BadText' >> beam.Flatten()
      | 'AddBadText' >> beam.CombineGlobally(_AddBadText()))
  _ = (
      [part | f'Name_{name}' >> beam.Map(lambda value, name: (name, value), name)
       for name, part in (('shards', shards), ('counts', counts),
                          ('bad_text', bad_text), ('sha256', read[_HASHES]))]
      | 'Outcome' >> beam.Flatten()
      | 'InOnePlace' >> beam.Map(lambda value: ('', value))
      | 'GroupOutcome' >> beam.GroupByKey()
      | 'WriteOutcome' >> beam.Map(
          _write_outcome, path=output.shard_path(_OUTCOME_FILE)))


class _ReadBlocks(beam.DoFn):
  """A file -> its blocks, its hash, and what could not be read of it."""

  def __init__(self, settings: PrepareSettings):
    self._settings = settings

  def process(self, file: CorpusFile) -> Iterator[Any]:
    blocks = FileBlocks(file, self._settings.skips_bad_text)
    for number, block in enumerate(blocks.read()):
      yield file.number, number, file.gathering_of(number), block
    yield beam.pvalue.TaggedOutput(_HASHES, (file.number, blocks.sha256))
    if blocks.bad_text.num_files:
      yield beam.pvalue.TaggedOutput(
          _BAD_TEXT, ((file.number, _BEHIND_ALL_BLOCKS), blocks.bad_text))


class _RowMaker(beam.DoFn):
  """Has a `ChunkMaker`, whose rows it collects."""

  def __init__(self, settings: PrepareSettings, vocabulary: Sequence[str]):
    self._settings, self._vocabulary = settings, list(vocabulary)
    self._maker, self._rows = None, []

  def setup(self) -> None:
    self._maker = ChunkMaker(
        self._settings, self._vocabulary,
        lambda split, shard, rows: self._rows.append(
            ((split, shard), rows.tobytes())))

  def taken_rows(self) -> list[tuple[tuple[str, int], bytes]]:
    rows, self._rows = self._rows, []
    return rows

  @staticmethod
  def counts(split: str, documents: int, tokens: int) -> Iterator[Any]:
    for name, number in (('documents', documents), ('tokens', tokens)):
      yield beam.pvalue.TaggedOutput(_COUNTS, ((split, name), number))


class _MakeRows(_RowMaker):
  """A block -> rows, text to gather, counts, and what was skipped."""

  def process(self, element: tuple[int, int, tuple[int, int], Block]
              ) -> Iterator[Any]:
    file, number, gathering, block = element
    made = self._maker.process_block(block, file, number)
    yield from self.taken_rows()
    yield from self.counts('train', made.documents, made.tokens)
    place = (file, number)
    if made.held_out.num_documents:
      yield beam.pvalue.TaggedOutput(
          _HELD_OUT, (gathering, (place, len(made.held_out.ids), made.held_out)))
    if len(made.left_over):
      yield beam.pvalue.TaggedOutput(
          _LEFT_OVER, (gathering, (place, len(made.left_over), made.left_over)))
    if made.bad_text.num_lines:
      yield beam.pvalue.TaggedOutput(_BAD_TEXT, (place, made.bad_text))


class _MakeGatheredRows(_RowMaker):
  """All pieces of a gathering -> rows and counts."""

  def __init__(self, settings: PrepareSettings, vocabulary: Sequence[str],
               kind: int):
    super().__init__(settings, vocabulary)
    self._kind = kind

  def process(self, element: tuple[tuple[int, int], Iterable[Any]]
              ) -> Iterator[Any]:
    name, pieces = element
    gathering = Gathering(self._kind)
    # They come in any order.
    for _, num_tokens, piece in sorted(pieces, key=lambda piece: piece[0]):
      for part in gathering.add(tuple(name), piece, num_tokens):
        yield from self._process_part(*part)
    for part in gathering.close():
      yield from self._process_part(*part)

  def _process_part(self, name: ChunkName, pieces: list[Any]) -> Iterator[Any]:
    counts = self._maker.process_gathered(name, pieces)
    yield from self.taken_rows()
    yield from self.counts('eval', *counts)


def _write_shard(element: tuple[tuple[str, int], Iterable[bytes]],
                 settings: PrepareSettings, work: str, dtype: np.dtype
                 ) -> tuple[str, int, dict[str, Any], str, list[int]]:
  """Sorts a shard's rows on this machine's disk, and writes its file.

  Beam may do it twice, of which either is good: the file appears all at once.
  """
  (split, number), parts = element
  names = shard_names(settings)[split]
  local = tempfile.mkdtemp(
      prefix='official_ext_prepare_', dir=None if is_remote(work) else work)
  try:
    for part in parts:
      spill_rows(local, split, number, np.frombuffer(part, dtype))
    path = os.path.join(local, names[number])
    written = write_shard(local, split, number, len(names), dtype, path)
    move_file(path, os.path.join(work, names[number]))
  finally:
    shutil.rmtree(local, ignore_errors=True)
  return (split, number, dataclasses.asdict(written.shard),
          base64.b64encode(written.entries.astype('<i8').tobytes()).decode(),
          written.label_counts.tolist())


class _AddBadText(beam.CombineFn):
  """Adds up what was skipped, keeping what comes first in the corpus."""

  def create_accumulator(self) -> tuple[int, int, list[Any]]:
    return 0, 0, []

  def add_input(self, accumulator, element):
    place, bad_text = element
    return self.merge_accumulators([accumulator, (
        bad_text.num_lines, bad_text.num_files,
        [(place, number, fault) for number, fault in enumerate(bad_text.first)])])

  def merge_accumulators(self, accumulators):
    lines, files, first = zip(*accumulators)
    return sum(lines), sum(files), sorted(
        fault for faults in first for fault in faults)[:SHOWN]

  def extract_output(self, accumulator):
    return accumulator


def _write_outcome(element: tuple[str, Iterable[tuple[str, Any]]],
                   path: str) -> None:
  _, values = element
  write_bytes(path, json.dumps(list(values)).encode())


def _read_outcome(path: str, files: Sequence[CorpusFile],
                  settings: PrepareSettings) -> Outcome:
  outcome = Outcome.nothing_yet(list(files))
  outcome.shards = {
      split: [None] * len(names) for split, names in shard_names(settings).items()}
  for name, value in json.loads(read_bytes(path)):
    if name == 'shards':
      split, number, shard, entries, label_counts = value
      outcome.shards[split][number] = WrittenShard(
          Shard(**shard), np.frombuffer(base64.b64decode(entries), '<i8'),
          np.array(label_counts, np.int64))
    elif name == 'counts':
      (split, what), number = value
      getattr(outcome, what)[split] = number
    elif name == 'sha256':
      number, outcome.sha256[number] = value
    else:
      num_lines, num_files, first = value
      outcome.bad_text = BadText(
          num_lines, num_files, [fault for _, _, fault in first])
  return outcome
