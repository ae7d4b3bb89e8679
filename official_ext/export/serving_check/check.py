"""Serves a model over gRPC, compares every answer, and times it.

  tpu_scripts/serve_check --model_dir=minilm \\
      --huggingface_python=venv/bin/python --huggingface_model=hf_model

Exports the model, serves it in a process that knows TensorFlow and TF Text only,
sends it mixed requests at once, and compares every answer with the model's in
this process. With --huggingface_python, `transformers` on CPU torch serves the
same weights the same way, in turns, and both are timed.
"""

import json
import os
import shutil
import sys
import tempfile

from absl import flags

from official_ext.command import run_command
from official_ext.mistakes import did_you_mean
from official_ext.mistakes import raise_if_any

_SERVER_OPTION_NAMES = ('max_batch_size', 'batch_timeout_micros',
                        'num_batch_threads', 'num_request_threads')

_MODEL_DIR = flags.DEFINE_string(
    'model_dir', None, 'What `export_model` takes: a BERT, or a fine-tuned '
    'classifier or regression.', required=True)
_NUM_REQUESTS = flags.DEFINE_integer('num_requests', 1000, 'Texts to send.', 1)
_CONCURRENCY = flags.DEFINE_list(
    'concurrency', ['1', '16'], 'Requests under way at any time; all are sent, '
    'timed and compared at each of these.')
_ROUNDS = flags.DEFINE_integer(
    'rounds', 3, 'Turns of each server; medians are printed.', 1)
_TOLERANCE = flags.DEFINE_float(
    'tolerance', 1e-5, 'Largest difference of an answer.', lower_bound=0)
_SERVER_OPTIONS = flags.DEFINE_list(
    'server_options', [], 'option=value for both servers: max_batch_size, '
    'batch_timeout_micros, num_batch_threads, num_request_threads.')
_HUGGINGFACE_PYTHON = flags.DEFINE_string(
    'huggingface_python', None, 'Interpreter with torch, transformers and '
    'tensorflow-serving-api; with --huggingface_model.')
_HUGGINGFACE_MODEL = flags.DEFINE_string(
    'huggingface_model', None, "Directory with the same weights in Hugging "
    "Face's files.")
_JSON_FILE = flags.DEFINE_string(
    'json_file', None, 'Where to write the figures, too.')


def main() -> None:
  """Serves, compares, times and prints a table."""
  raise_if_any(_flag_mistakes())
  levels = [int(level) for level in _CONCURRENCY.value]
  # Imported here so that --help comes at once.
  import numpy as np

  from official_ext.export.saved_model import export_saved_model
  from official_ext.export.served_model import load_served_model
  from official_ext.export.serving_check import in_process
  from official_ext.export.serving_check.measurement import measure
  from official_ext.export.serving_check.measurement import Server
  from official_ext.export.serving_check.measurement import table
  from official_ext.export.serving_check.mixed_texts import mixed_texts

  served = load_served_model(_MODEL_DIR.value)
  if served.kind not in in_process.COMPARED:
    raise ValueError(
        f'the model is of kind {served.kind}; give one of '
        f'{", ".join(in_process.COMPARED)}.')
  if _HUGGINGFACE_MODEL.value and (
      served.kind != 'encoder' or served.model.classification_heads):
    raise ValueError(
        'only an encoder without heads can be compared with transformers; leave '
        'out --huggingface_python.')
  is_pair = served.finetuned and served.finetuned.task.num_texts == 2
  names = ('text', 'second_text') if is_pair else ('text',)
  columns = [mixed_texts(_NUM_REQUESTS.value, seed=seed)
             for seed in range(len(names))]
  requests = [dict(zip(names, texts)) for texts in zip(*columns)]
  expected = in_process.in_process_answers(served, requests)
  signature, output = in_process.COMPARED[served.kind]
  here = os.path.dirname(__file__)
  with tempfile.TemporaryDirectory() as directory:
    version_dir = export_saved_model(_MODEL_DIR.value, directory)
    servers = [Server('TensorFlow', sys.executable, os.path.join(
        here, 'prediction_server.py'), (version_dir, *_SERVER_OPTIONS.value))]
    if _HUGGINGFACE_MODEL.value:
      servers.append(Server(
          'transformers', os.path.abspath(shutil.which(_HUGGINGFACE_PYTHON.value)),
          os.path.join(here, 'huggingface_server.py'),
          (os.path.abspath(_HUGGINGFACE_MODEL.value), *_SERVER_OPTIONS.value)))
    figures = measure(
        servers, requests, expected, signature=signature, output=output,
        levels=levels, rounds=_ROUNDS.value)
  print(table(figures))
  if _JSON_FILE.value:
    with open(_JSON_FILE.value, 'w', encoding='utf-8') as file:
      json.dump(figures, file, indent=2)
  worst = np.max([each['largest_difference'] for each in figures
                  if each['server'] == 'TensorFlow'])
  if not worst <= _TOLERANCE.value:
    raise RuntimeError(
        f'an answer differs by {worst:.2g} from the model in this process; '
        f'expected at most {_TOLERANCE.value:g}.')
  print(f'All {len(requests)} answers are those of the model in this process, '
        f'within {worst:.1e}.')


def _flag_mistakes():
  """Yields a line for everything that is known to be wrong before any work."""
  for level in _CONCURRENCY.value:
    if not level.isdecimal() or not int(level):
      yield f'--concurrency has {level!r}; give whole numbers of at least 1'
  for option in _SERVER_OPTIONS.value:
    name, _, value = option.partition('=')
    if name not in _SERVER_OPTION_NAMES:
      yield (f'--server_options has {name!r}'
             f'{did_you_mean(name, _SERVER_OPTION_NAMES)}')
    elif not value.isdecimal():
      yield f'--server_options has {option!r}; give {name}= and a whole number'
  python, model = _HUGGINGFACE_PYTHON.value, _HUGGINGFACE_MODEL.value
  if bool(python) != bool(model):
    yield '--huggingface_python and --huggingface_model go together; give both.'
  if python and shutil.which(python) is None:
    yield (f'--huggingface_python {python} is no program; give the interpreter of '
           'an environment with torch and transformers')
  if model and not os.path.isdir(model):
    yield f'--huggingface_model {model} is no directory; give the model\'s'


if __name__ == '__main__':
  run_command(main)
