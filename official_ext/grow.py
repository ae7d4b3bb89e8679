"""Grows a checkpoint into a larger one, and shows what changed.

  python -m official_ext.grow --source=runs/small/model \\
      --target_gin_file=models/bert_base.gin --width=aki --depth=append \\
      --output_dir=grown --text_file=held_out.txt

The source is a run directory of `train`, a directory that this command or
`convert` wrote, or the prefix of a checkpoint of Model Garden's. The result is
a checkpoint of Model Garden's with architecture.json, vocab.txt and
growth.json beside it.
"""

import sys

from absl import flags

from official_ext.command import run_command
from official_ext.growth import DEPTH_RULES
from official_ext.growth import WIDTH_RULES

_SOURCE = flags.DEFINE_string(
    'source', None, 'The checkpoint to grow.', required=True)
_TARGET_GIN_FILE = flags.DEFINE_multi_string(
    'target_gin_file', [], 'Files that set model.*, in order; the last one wins. '
    'Looked for here, then among the files that come with the package. '
    'Vocabulary, positions, segments, activation and epsilon are those of the '
    'source where no file sets them.')
_GIN_PARAMS = flags.DEFINE_multi_string(
    'gin_params', [], "Single settings that override the files, such as "
    "'model.num_heads = 24'.")
_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'A new directory for the result.', required=True)
_WIDTH = flags.DEFINE_enum(
    'width', 'fpi', list(WIDTH_RULES),
    'Rule for new units.')
_DEPTH = flags.DEFINE_enum(
    'depth', 'append', list(DEPTH_RULES),
    'Rule for new layers.')
_WEIGHTED_NORM = flags.DEFINE_bool(
    'weighted_norm', False, 'Let the LayerNorms keep the statistics of the '
    'source, which makes fpi exact for any width.')
_NOISE_SCALE = flags.DEFINE_float(
    'noise_scale', 0.1, 'Zero-sum noise that lets copies separate in training, '
    'relative to the spread of each weight; 0 means none.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the noise and of the masks.')
_TEXT_FILE = flags.DEFINE_string(
    'text_file', None, 'Text to compare both models on, a sentence a line; some '
    'sentences of our own if not given.')
_VOCAB_FILE = flags.DEFINE_string(
    'vocab_file', None, 'Vocabulary of the source, if none is beside it.')


def main() -> None:
  """Reads, checks, grows, writes, shows."""
  # Imported here so that --help comes at once.
  from official_ext import configuration
  from official_ext.analysis import growth_table
  from official_ext.analysis import parity_text
  from official_ext.export import checkpoint_growth
  from official_ext.export.new_directory import check_new
  from official_ext.growth import growth_mistakes
  from official_ext.mistakes import ConfigurationError
  from official_ext.modeling.checkpoint_source import find_checkpoint
  from official_ext.modeling.checkpoint_weights import read_checkpoint

  check_new(_OUTPUT_DIR.value)
  found = find_checkpoint(_SOURCE.value)
  weights, source = read_checkpoint(_SOURCE.value)
  target = configuration.load_architecture(
      _TARGET_GIN_FILE.value, _GIN_PARAMS.value,
      defaults={name: getattr(source, name)
                for name in checkpoint_growth.INHERITED})
  if _WEIGHTED_NORM.value:
    if target.hidden_size == source.hidden_size:
      target = target.replace(norm_source_size=source.norm_source_size)
    # For a multiple an ordinary LayerNorm does the same.
    elif target.hidden_size % source.hidden_size:
      target = target.replace(norm_source_size=source.hidden_size)
  mistakes = growth_mistakes(
      source, target, width=_WIDTH.value, depth=_DEPTH.value)
  if target == source:
    mistakes = ['the target is what the source is; give a larger one']
  if mistakes:
    print('\n'.join(growth_table.sides(source, target)), file=sys.stderr)
    raise ConfigurationError(mistakes)
  vocab_file = _VOCAB_FILE.value or found.vocabulary_file
  if vocab_file is None:
    raise ValueError(
        f'{_SOURCE.value} has no vocab.txt beside it; give --vocab_file.')
  lines = parity_text.SENTENCES
  if _TEXT_FILE.value:
    lines = parity_text.read_lines(_TEXT_FILE.value)
  record = checkpoint_growth.grow_checkpoint(
      weights, source, target, _OUTPUT_DIR.value, vocab_file=vocab_file,
      lower_case=found.lower_case, lines=lines, width=_WIDTH.value,
      depth=_DEPTH.value, noise_scale=_NOISE_SCALE.value, seed=_SEED.value)
  print('\n'.join(growth_table.growth_lines(record)))
  print(f'written: {_OUTPUT_DIR.value}')


if __name__ == '__main__':
  run_command(main)
