"""Fine-tunes a BERT on a task of GLUE, on all of them, or on a SQuAD.

  python -m official_ext.finetune --task=cola --task_dir=glue_data/CoLA \\
      --checkpoint=runs/quickstart/model --output_dir=runs/cola
  python -m official_ext.finetune --task=glue --task_dir=glue_data \\
      --gin_file=finetune/paper_grid.gin \\
      --checkpoint=runs/grown/model --baseline_checkpoint=runs/scratch/model \\
      --output_dir=runs/glue
  python -m official_ext.finetune --task=squad20 --task_dir=squad \\
      --gin_file=finetune/squad.gin \\
      --checkpoint=runs/grown/model --output_dir=runs/squad20

The same command goes on after an interruption: what is finished is not done
again.
"""

import contextlib
import dataclasses
import os
import sys
import tempfile

from absl import flags

from official_ext.command import run_command

_TASK = flags.DEFINE_string(
    'task', None, 'cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli; glue: all '
    'of them; squad11, squad20.')
_TASK_DIR = flags.DEFINE_string(
    'task_dir', None, "Folder of the task's files, as they are distributed; for "
    'glue the folder with CoLA, SST-2 and so on.')
_CHECKPOINT = flags.DEFINE_string(
    'checkpoint', None, 'What to fine-tune: a run directory of `train`, a '
    'directory that `grow`, `convert` or `finetune` wrote, the prefix of a '
    "checkpoint of Model Garden's, or a directory of Hugging Face.")
_BASELINE_CHECKPOINT = flags.DEFINE_string(
    'baseline_checkpoint', None, 'Another one, fine-tuned alike and shown beside '
    'it.')
_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Where results, predictions and the best model go.')
_VOCAB_FILE = flags.DEFINE_string(
    'vocab_file', None, 'Vocabulary of the checkpoint, if none is beside it.')
_GIN_FILE = flags.DEFINE_multi_string(
    'gin_file', [], 'Files that set finetune.*, in order; the last one wins. '
    'Looked for here, then among the files that come with the package.')
_GIN_PARAMS = flags.DEFINE_multi_string(
    'gin_params', [], "Single settings that override the files, such as "
    "'finetune.num_epochs = 4'.")
_ALLOW_UNFINISHED = flags.DEFINE_bool(
    'allow_unfinished', None, 'Fine-tune a checkpoint in the middle of its '
    'growth as it stands.')
_TPU = flags.DEFINE_string(
    'tpu', None, "Name or address of the TPU, or 'local' on a single TPU VM.")


def main() -> None:
  """Examines everything, fine-tunes, shows the results."""
  # Imported here so that --help comes at once.
  from official_ext import finetune_configuration
  from official_ext.downstream import finetuning
  from official_ext.downstream.score_table import print_table
  from official_ext.downstream.score_table import ScoreTable

  config, text, mistakes = finetune_configuration.load_finetune_config(
      _GIN_FILE.value, _GIN_PARAMS.value, {
          'task': _TASK.value, 'task_dir': _TASK_DIR.value,
          'checkpoint': _CHECKPOINT.value,
          'baseline_checkpoint': _BASELINE_CHECKPOINT.value,
          'output_dir': _OUTPUT_DIR.value, 'vocab_file': _VOCAB_FILE.value,
          'allow_unfinished': _ALLOW_UNFINISHED.value, 'tpu': _TPU.value,
          'strategy': 'tpu' if _TPU.value else None})
  with contextlib.ExitStack() as stack:
    config = _converted(config, stack, mistakes)
    summaries = finetuning.finetune(
        config, config_text=text, mistakes=mistakes, say=_say)
  table = ScoreTable({
      model: {task: summary['metrics'] for task, summary in of_model.items()}
      for model, of_model in summaries.items()})
  print_table(table)
  for path in table.write(os.path.join(config.output_dir, 'scores')):
    print(f'written: {path}')
  for of_model in summaries.values():
    for summary in of_model.values():
      print(f'{summary["task"]}: best of {len(summary["trials"])} trials: '
            f'{summary["best"]}; model: {summary["finetuned"]}')


def _converted(config, stack: contextlib.ExitStack, mistakes: list[str]):
  """Puts Model Garden's form in the place of directories of Hugging Face."""
  from official_ext.export import conversion
  from official_ext.export.huggingface_files import CONFIG_FILE

  for field in ('checkpoint', 'baseline_checkpoint'):
    path = getattr(config, field)
    if not isinstance(path, str) or not os.path.isfile(
        os.path.join(path, CONFIG_FILE)):
      continue
    converted = os.path.join(
        stack.enter_context(tempfile.TemporaryDirectory()), 'converted')
    try:
      conversion.to_model_garden(path, converted)
    except ValueError as error:
      mistakes.append(f'{field}: {error}')
    else:
      config = dataclasses.replace(config, **{field: converted})
  return config


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


if __name__ == '__main__':
  run_command(main)
