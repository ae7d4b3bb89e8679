"""The whole preparation, from input files to manifest, in order."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
from typing import Any, Callable, Sequence

from official_ext.data import corpus
from official_ext.data import embedded_corpus
from official_ext.data import local_runner
from official_ext.data import record_index
from official_ext.data import vocabulary as vocabulary_lib
from official_ext.data.bad_text import BadText
from official_ext.data.manifest import Manifest
from official_ext.data.outcome import Outcome
from official_ext.data.output_directory import OutputDirectory
from official_ext.data.reader import expand_inputs
from official_ext.data.settings import PrepareSettings
from official_ext.data.settings import RUNNERS
from official_ext.data.workers import num_cores
from official_ext.data.workers import Workers

DEFAULT_VOCAB_SIZE = 8192


def prepare(output_dir: str, inputs: Sequence[str] = (),
            settings: PrepareSettings = PrepareSettings(), *,
            num_workers: int | None = None, runner: str = 'local',
            beam_pipeline_options: Sequence[str] = (),
            say: Callable[[str], None] = print) -> Manifest:
  """Makes a data directory of pre-training examples.

  Args:
    output_dir: where to put them; local or remote.
    inputs: globs of text files; none means the embedded corpus.
    settings: everything else that decides the bytes.
    num_workers: processes of the local runner; None means one a core. The
      bytes do not depend on it. With 1, all is done in this process.
    runner: 'local', or 'beam' for Apache Beam. The bytes do not depend on it.
    beam_pipeline_options: Beam's own, as NAME=VALUE or NAME.
    say: where messages go.

  Returns:
    The manifest, new or, if the same data set is there already, the old one.

  Raises:
    ValueError: if settings, inputs or output directory cannot be used.
    OSError: if a file cannot be read or written.
    ImportError: if Beam is asked for and not installed.
  """
  _check_runner(runner, inputs, num_workers, beam_pipeline_options)
  settings = _with_duplicates_settled(settings, inputs, runner)
  vocabulary = _given_vocabulary(settings)
  description = _description(inputs)
  output = OutputDirectory(output_dir)
  existing = output.existing_manifest()
  if existing is not None:
    output.check_same(existing, settings, description, vocabulary)
    say(f'{output_dir} already holds this data set; nothing to do')
    return existing
  # Starts the import of TensorFlow in the background.
  workers = Workers(num_workers or num_cores()) if runner == 'local' else None
  try:
    output.begin(is_shared=workers is None)
    if not inputs:
      path = os.path.join(output.spill_dir, 'embedded.txt')
      description |= embedded_corpus.write_corpus(
          path, workers.num_workers, settings.max_input_bytes)
      inputs = [path]
    files = corpus.lay_out(expand_inputs(inputs))
    if settings.max_input_bytes is not None:
      files = corpus.limit(
          files, settings.max_input_bytes, settings.skips_bad_text)
    if vocabulary is None:
      vocabulary = vocabulary_lib.learn_vocabulary(
          vocabulary_lib.sample_text(
              files, skips_bad_text=settings.skips_bad_text),
          settings.vocab_size or DEFAULT_VOCAB_SIZE,
          lower_case=settings.lower_case)
      say(f'learned a vocabulary of {len(vocabulary)} pieces')
    if workers:
      outcome = local_runner.run(
          workers, files, settings, vocabulary, output,
          # The embedded corpus was written without any.
          finds_duplicates=(
              settings.remove_duplicates and description['kind'] == 'files'))
    else:
      from official_ext.data import beam_runner  # Beam takes seconds to import.
      outcome = beam_runner.run(
          beam_pipeline_options, files, settings, vocabulary, output)
    _report(outcome.bad_text, say)
    _complete(description, settings, outcome)
    if 'duplicates' in description:
      say('left out {paragraphs} repeated paragraphs ({bytes} bytes)'.format(
          **description['duplicates']))
    vocab_bytes = vocabulary_lib.vocabulary_bytes(vocabulary)
    index_bytes = record_index.index_bytes(outcome.index_entries())
    manifest = Manifest(
        objective=settings.objective,
        seq_length=settings.seq_length,
        max_predictions_per_seq=settings.max_predictions_per_seq,
        vocab_size=len(vocabulary),
        vocab_sha256=hashlib.sha256(vocab_bytes).hexdigest(),
        tokenizer={'type': 'FastBertTokenizer',
                   'lower_case': settings.lower_case},
        seed=settings.seed, settings=settings.manifest_settings(),
        corpus=description, splits=outcome.splits(),
        versions={name: importlib.metadata.version(name) for name in (
            'numpy', 'tensorflow', 'tensorflow-text', 'tokenizers')},
        index=record_index.describe_index(index_bytes),
        unigram=outcome.unigram(len(vocabulary)))
    output.finish(manifest, vocab_bytes, index_bytes)
  except BaseException:
    if workers:
      workers.close()
    output.abandon()
    raise
  if workers:
    workers.close()
  return manifest


def _check_runner(runner: str, inputs: Sequence[str], num_workers: int | None,
                  beam_pipeline_options: Sequence[str]) -> None:
  if runner not in RUNNERS:
    raise ValueError(
        f'runner is {runner!r}; give one of {", ".join(RUNNERS)}')
  if num_workers is not None and num_workers < 1:
    raise ValueError(
        f'num_workers is {num_workers}; give a whole number of at least 1')
  if runner == 'local' and beam_pipeline_options:
    raise ValueError(
        f'--beam_pipeline_options is {",".join(beam_pipeline_options)}, but '
        'runner is local; give --runner=beam')
  if runner == 'beam' and num_workers is not None:
    raise ValueError(
        f'num_workers is {num_workers}, but Beam has workers of its own; give '
        'its options, such as --beam_pipeline_options=direct_num_workers='
        f'{num_workers},direct_running_mode=multi_processing')
  if runner == 'beam' and not inputs:
    raise ValueError(
        '--input is missing: the embedded corpus is of this machine alone; give '
        'files, or --runner=local')
  if runner == 'beam' and importlib.util.find_spec('apache_beam') is None:
    raise ImportError(
        "--runner=beam needs Apache Beam; install it with pip install "
        "'official-ext[beam]', or give --runner=local")


def _with_duplicates_settled(settings: PrepareSettings, inputs: Sequence[str],
                             runner: str) -> PrepareSettings:
  """Settings that say whether repeated paragraphs are left out.

  Raises:
    ValueError: if that cannot be had.
  """
  if not inputs and settings.remove_duplicates is False:
    raise ValueError(
        'remove_duplicates is False, but the embedded corpus never repeats a '
        'paragraph; leave --noremove_duplicates out')
  if settings.remove_duplicates and runner == 'beam':
    raise ValueError(
        "remove_duplicates is True, but Beam's workers do not see each other's "
        'text; give --runner=local, or remove repeated text beforehand')
  return dataclasses.replace(
      settings, remove_duplicates=bool(settings.remove_duplicates or not inputs))


def _report(bad_text: BadText, say: Callable[[str], None]) -> None:
  for fault in bad_text.first:
    say(f'skipped: {fault}')
  if bad_text.num_lines or bad_text.num_files:
    say(f'skipped {bad_text.num_lines} lines, and the rest of '
        f'{bad_text.num_files} files, in all')


def _complete(description: dict[str, Any], settings: PrepareSettings,
              outcome: Outcome) -> None:
  """Says in the corpus's description what reading it has shown."""
  for entry, sha256 in zip(description.get('files', ()), outcome.sha256):
    entry['sha256'] = sha256
  if outcome.duplicates is not None:
    description.setdefault('duplicates', outcome.duplicates)
  if settings.skips_bad_text:
    description['skipped_lines'] = outcome.bad_text.num_lines
    description['skipped_files'] = outcome.bad_text.num_files


def _given_vocabulary(settings: PrepareSettings) -> list[str] | None:
  if settings.vocab_file is None:
    return None
  vocabulary = vocabulary_lib.read_vocabulary(settings.vocab_file)
  if settings.vocab_size not in (None, len(vocabulary)):
    raise ValueError(
        f'vocab_size is {settings.vocab_size}, but {settings.vocab_file} holds '
        f'{len(vocabulary)} pieces; leave out vocab_size')
  return vocabulary


def _description(inputs: Sequence[str]) -> dict[str, Any]:
  """What the manifest says of the corpus before it has been read."""
  if not inputs:
    return {'kind': 'embedded', 'fingerprint': embedded_corpus.fingerprint()}
  return {'kind': 'files', 'files': [
      {'path': file.path, 'bytes': file.num_bytes}
      for file in expand_inputs(inputs)]}
