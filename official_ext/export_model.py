"""Exports a finished run as a versioned SavedModel that takes plain strings.

  python -m official_ext.export_model --model_dir=runs/quickstart/model \\
      --try='The function returns a [MASK].'
"""

import sys

from absl import flags

from official_ext.command import run_command
from official_ext.export import SIGNATURES
from official_ext.export import TOP_K

_MODEL_DIR = flags.DEFINE_string(
    'model_dir', None, 'Run directory that `train` wrote to.', required=True)
_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Where the numbered versions go; '
    '<model_dir>/saved_model if not given.')
_SIGNATURE_NAMES = flags.DEFINE_list(
    'signatures', list(SIGNATURES), 'serving_default: strings in, fillings of each '
    '[MASK] out; token_ids: ids in, logits out; embed: strings in, vectors out.')
_TOP_K = flags.DEFINE_integer(
    'top_k', TOP_K, 'Fillings that serving_default offers for a [MASK].')
_MAX_MASKS = flags.DEFINE_integer(
    'max_masks', None, 'Masks of one string that are filled; as many as '
    'sequences had room for in training if not given.')
_ALLOW_UNFINISHED = flags.DEFINE_bool(
    'allow_unfinished', False, 'Export a run that has steps to go, as it is.')
_TRY = flags.DEFINE_multi_string(
    'try', [], 'A text with [MASK] in it, to be filled through the SavedModel '
    'once it is written. May be repeated.')


def main() -> None:
  """Exports, and fills the texts to try."""
  if _TRY.value and 'serving_default' not in _SIGNATURE_NAMES.value:
    raise ValueError(
        '--try needs the signature serving_default; add it to --signatures.')
  # Imported here so that --help comes at once.
  from official_ext.export.filled_masks import filled_masks_table
  from official_ext.export.saved_model import export_saved_model

  version_dir = export_saved_model(
      _MODEL_DIR.value, _OUTPUT_DIR.value, signatures=_SIGNATURE_NAMES.value,
      top_k=_TOP_K.value, max_masks=_MAX_MASKS.value,
      allow_unfinished=_ALLOW_UNFINISHED.value,
      warn=lambda line: print(f'warning: {line}', file=sys.stderr))
  print(f'SavedModel: {version_dir}')
  if _TRY.value:
    print('\n' + filled_masks_table(version_dir, _TRY.value))


if __name__ == '__main__':
  run_command(main)
