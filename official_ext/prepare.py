"""Turns text into pre-training data: vocabulary, records, manifest.

  python -m official_ext.prepare --input 'books/*.txt.gz' --output_dir data

Without --input the text is the embedded corpus: the prose of the docstrings of
the installed Python packages.
"""

import dataclasses
import sys
import time

from absl import flags

from official_ext.command import run_command
from official_ext.data.settings import MASKED_LM_DEFAULTS
from official_ext.data.settings import OBJECTIVES
from official_ext.data.settings import ON_BAD_TEXT
from official_ext.data.settings import PrepareSettings
from official_ext.data.settings import RUNNERS

_DEFAULTS = PrepareSettings()


def _of_masked_lm(name: str, text: str) -> str:
  return f'{text} Of masked_lm only; default: {MASKED_LM_DEFAULTS[name]}.'


flags.DEFINE_multi_string(
    'input', [],
    'Globs of .txt, .txt.gz, .jsonl or .jsonl.gz files, with commas between, or '
    'the flag repeated. In .txt, blank lines separate documents; in .jsonl, '
    'each line is an object with a string "text". Default: the embedded corpus.')
flags.DEFINE_string('output_dir', None, 'Where to put the data. Required.')
flags.DEFINE_enum(
    'objective', _DEFAULTS.objective, OBJECTIVES,
    'masked_lm: pairs of segments with masked tokens, for BERT. causal_lm: '
    'sequences packed full of text, for GPT.')
flags.DEFINE_integer(
    'vocab_size', None,
    'Pieces of the vocabulary to learn. Default: 8192, or as many as '
    '--vocab_file has.')
flags.DEFINE_string(
    'vocab_file', None, 'A vocabulary to use: one piece a line. Default: learn one.')
flags.DEFINE_bool(
    'lower_case', _DEFAULTS.lower_case, 'Lower-case the text and strip accents.')
flags.DEFINE_integer('seq_length', _DEFAULTS.seq_length, 'Tokens an example.')
flags.DEFINE_integer(
    'max_predictions_per_seq', None, _of_masked_lm(
        'max_predictions_per_seq',
        'Masked tokens an example, at most.'))
flags.DEFINE_float(
    'masked_lm_probability', None, _of_masked_lm(
        'masked_lm_probability',
        'Share of the tokens to mask.'))
flags.DEFINE_bool(
    'whole_word_masking', None, _of_masked_lm(
        'whole_word_masking',
        'Mask all pieces of a word, or none.'))
flags.DEFINE_float(
    'short_sequence_probability', None, _of_masked_lm(
        'short_sequence_probability',
        'Share of examples made shorter on purpose.'))
flags.DEFINE_integer(
    'dupe_factor', None, _of_masked_lm(
        'dupe_factor',
        'How often to use the text, each time paired and masked anew.'))
flags.DEFINE_float(
    'eval_fraction', _DEFAULTS.eval_fraction, 'Share of the documents held out.')
flags.DEFINE_integer('num_shards', _DEFAULTS.num_shards, 'Training files.')
flags.DEFINE_integer(
    'max_input_bytes', None,
    'Stop after about so many bytes of text. Default: read everything.')
flags.DEFINE_enum(
    'on_bad_text', _DEFAULTS.on_bad_text, ON_BAD_TEXT,
    'What to do about lines that are not UTF-8, records that are not JSON with a '
    'text, and files that end before they should: stop, or skip and count them.')
flags.DEFINE_bool(
    'remove_duplicates', None,
    'Leave out paragraphs (lines of at least 40 bytes) that occurred before. '
    'Local runner only. Default: no; the embedded corpus never repeats any.')
flags.DEFINE_integer('seed', _DEFAULTS.seed, 'Of every random choice.')
flags.DEFINE_integer(
    'num_workers', None,
    'Processes of the local runner; the data do not depend on it. Default: one '
    'a core.')
flags.DEFINE_enum(
    'runner', 'local', RUNNERS,
    'local: processes of this machine. beam: Apache Beam, of the extra beam, for '
    'corpora that one machine is too small for. The data do not depend on it.')
flags.DEFINE_multi_string(
    'beam_pipeline_options', [],
    "Beam's own, NAME=VALUE or NAME, with commas between, or the flag repeated: "
    'runner=DataflowRunner,project=mine. Default: on this machine.')


def main() -> None:
  """Prepares the data that the flags ask for."""
  values = flags.FLAGS
  if not values.output_dir:
    raise ValueError('--output_dir is missing; say where to put the data')
  if any(not pattern.strip(' ,') for pattern in values.input):
    raise ValueError(
        '--input is empty; leave the flag out to use the embedded corpus')
  settings = PrepareSettings(**{
      field.name: getattr(values, field.name)
      for field in dataclasses.fields(PrepareSettings)})
  from official_ext.data import build
  start = time.monotonic()
  manifest = build.prepare(
      values.output_dir, values.input, settings, num_workers=values.num_workers,
      runner=values.runner, beam_pipeline_options=[
          option for text in values.beam_pipeline_options
          for option in text.split(',') if option],
      say=lambda line: print(line, file=sys.stderr))
  counts = ' and '.join(
      f'{split.examples} {name} examples' for name, split in manifest.splits.items())
  padding = f', {_padding(manifest):.1%} padding' if manifest.is_causal else ''
  print(f'{values.output_dir}: {counts} of {manifest.seq_length} tokens{padding}, '
        f'{manifest.vocab_size} pieces ({time.monotonic() - start:.1f} s)')


def _padding(manifest) -> float:
  """Share of padding in causal sequences: what is no text, [SEP] or [CLS]."""
  splits = manifest.splits.values()
  slots = manifest.seq_length * sum(split.examples for split in splits)
  filled = sum(
      split.tokens + split.documents + split.examples for split in splits)
  return 1 - filled / slots


if __name__ == '__main__':
  run_command(main)
