"""Exports a trained model as a versioned SavedModel that takes plain strings.

  python -m official_ext.export_model --model_dir=runs/quickstart/model \\
      --try='The function returns a [MASK].'

What `train`, `finetune`, `grow` or `convert` wrote. A GPT's strings are
continued: --try='The function returns'.
"""

import os
import sys

from absl import flags

from official_ext.command import run_command
from official_ext.export import PADDINGS
from official_ext.export import TOP_K

_MODEL_DIR = flags.DEFINE_string(
    'model_dir', None, 'Run directory of `train`, directory `finetuned` of '
    '`finetune`, or directory that `grow` or `convert` wrote.', required=True)
_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Where the numbered versions go; '
    '<model_dir>/saved_model if not given.')
_SIGNATURE_NAMES = flags.DEFINE_list(
    'signatures', None, 'All of the model\'s kind if not given. BERT: '
    'serving_default: strings in, fillings of each [MASK] out; token_ids: ids '
    'in, logits out; embed, embed_token_ids: strings or ids in, vectors out. '
    'Fine-tuned: serving_default: strings in, labels, scores or answers out; '
    'token_ids. GPT: next_token_logits: ids in, logits of the next token out; '
    'next_token: strings in, likeliest next pieces out; generate: strings in, '
    'continued strings out.')
_TOP_K = flags.DEFINE_integer(
    'top_k', TOP_K, 'Fillings that serving_default offers for a [MASK]; pieces '
    'that next_token offers.')
_MAX_MASKS = flags.DEFINE_integer(
    'max_masks', None, 'Masks of one string that are filled; as many as '
    'sequences had room for in training if not given.')
_PADDING = flags.DEFINE_enum(
    'padding', None, PADDINGS, 'What the text signatures of a BERT do with texts '
    'of different lengths. none: compute on tokens only, best on CPUs; buckets: '
    'pad to the next of few lengths, for XLA and accelerators. none if not given.')
_ALLOW_UNFINISHED = flags.DEFINE_bool(
    'allow_unfinished', False, 'Export a run that has steps to go, as it is.')
_TRY = flags.DEFINE_multi_string(
    'try', [], 'A text to give to the SavedModel once it is written: with [MASK] '
    'in it, the beginning of one for a GPT, or what a fine-tuned model reads; '
    '" ||| " between the two texts of a pair. May be repeated.')


def main() -> None:
  """Exports, and gives the texts to try to the model."""
  names = _SIGNATURE_NAMES.value
  if _TRY.value and names is not None and not {
      'serving_default', 'generate'} & set(names):
    raise ValueError(
        '--try needs the signature serving_default, or generate of a GPT; add it '
        'to --signatures.')
  if _OUTPUT_DIR.value and os.path.isfile(_OUTPUT_DIR.value):
    raise ValueError(
        f'--output_dir {_OUTPUT_DIR.value} is a file; give a directory.')
  # Imported here so that --help comes at once.
  from official_ext.export.saved_model import export_saved_model
  from official_ext.export.trial import try_texts

  version_dir = export_saved_model(
      _MODEL_DIR.value, _OUTPUT_DIR.value, signatures=names,
      top_k=_TOP_K.value, max_masks=_MAX_MASKS.value,
      padding=_PADDING.value, allow_unfinished=_ALLOW_UNFINISHED.value,
      warn=lambda line: print(f'warning: {line}', file=sys.stderr))
  print(f'SavedModel: {version_dir}')
  if _TRY.value:
    print('\n' + try_texts(version_dir, _TRY.value))


if __name__ == '__main__':
  run_command(main)
