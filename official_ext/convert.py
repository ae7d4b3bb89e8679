"""Converts a BERT between Hugging Face's files and Model Garden's.

  python -m official_ext.convert --from=huggingface --to=model_garden \\
      --input=DOWNLOADED --output_dir=converted
  python -m official_ext.convert --from=model_garden --to=huggingface \\
      --input=runs/quickstart/model --output_dir=for_transformers

A directory of Hugging Face holds config.json, model.safetensors and vocab.txt;
pickled weights are never read. A checkpoint of Model Garden's may be a run
directory of `train`, a directory that `grow` or this command wrote, or a
checkpoint's prefix.
"""

from absl import flags

from official_ext.command import run_command

HUGGING_FACE, MODEL_GARDEN = 'huggingface', 'model_garden'
_FORMATS = (HUGGING_FACE, MODEL_GARDEN)

_FROM = flags.DEFINE_enum(
    'from', None, _FORMATS, 'Whose files there are.', required=True)
_TO = flags.DEFINE_enum(
    'to', None, _FORMATS, 'Whose files there shall be.', required=True)
_INPUT = flags.DEFINE_string(
    'input', None, 'What to convert.', required=True)
_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'A new directory for the result.', required=True)


def main() -> None:
  """Converts, and says what came of it."""
  if _FROM.value == _TO.value:
    raise ValueError(
        f'--from and --to are both {_FROM.value}; give one of each of '
        f'{" and ".join(_FORMATS)}.')
  # Imported here so that --help comes at once.
  from official_ext.export import conversion

  convert = {HUGGING_FACE: conversion.to_model_garden,
             MODEL_GARDEN: conversion.to_hugging_face}[_FROM.value]
  for line in convert(_INPUT.value, _OUTPUT_DIR.value):
    print(line)


if __name__ == '__main__':
  run_command(main)
