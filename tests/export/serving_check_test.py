"""A pre-trained, grown, fine-tuned and exported model behind real gRPC calls."""

import os
import subprocess
import sys

import grpc
import numpy as np
import pytest

from official_ext.configuration import load_config
from official_ext.data import build
from official_ext.data.settings import PrepareSettings
from official_ext.downstream.finetune_config import FinetuneConfig
from official_ext.downstream.finetuning import finetune
from official_ext.export import serving_check
from official_ext.export.saved_model import export_saved_model
from official_ext.export.served_model import load_served_model
from official_ext.export.serving_check import in_process
from official_ext.export.serving_check.measurement import compare
from official_ext.export.serving_check.measurement import measure
from official_ext.export.serving_check.measurement import Server
from official_ext.export.serving_check.measurement import table
from official_ext.export.serving_check.mixed_texts import mixed_texts
from official_ext.export.serving_check.prediction_client import Answers
from official_ext.export.serving_check.prediction_client import ask
from official_ext.export.serving_check.prediction_client import running_server
from official_ext.training.pretrain import pretrain
from tests.downstream import samples

_SERVER = os.path.join(os.path.dirname(serving_check.__file__),
                       'prediction_server.py')


@pytest.fixture(name='finetuned', scope='module')
def _finetuned(tmp_path_factory):
  """CompoundGrow's four stages, then CoLA's layout, all tiny."""
  folder = tmp_path_factory.mktemp('finetuned')
  make = samples.Sentences()
  (folder / 'text.txt').write_text('\n\n'.join(
      '\n'.join(f'{make()} {make()} .' for _ in range(6)) for _ in range(150)))
  data, run = str(folder / 'data'), str(folder / 'run')
  build.prepare(
      data, [str(folder / 'text.txt')], PrepareSettings(
          num_shards=2, eval_fraction=0.1, vocab_size=1000, seq_length=32,
          max_predictions_per_seq=5), num_workers=1)
  config, text = load_config(
      ['experiments/compound_grow_tiny.gin'], ['NUM_STEPS = 20'], data_dir=data,
      model_dir=run)
  pretrain(config, config_text=text,
           flops_per_step=lambda stage, num_predictions: 1.0)
  glue = samples.write_glue(str(folder / 'glue'))
  finetune(FinetuneConfig(
      task='cola', task_dir=os.path.join(glue, 'CoLA'),
      checkpoint=run, output_dir=str(folder / 'cola'),
      batch_sizes=(8,), learning_rates=(1e-2,), num_epochs=3.0,
      checkpoint_interval_steps=100, deterministic=False),
           say=lambda line: None)
  return str(folder / 'cola' / 'finetuned')


def test_a_thousand_mixed_requests(finetuned, tmp_path):
  served = load_served_model(finetuned)
  assert served.architecture.num_layers == 4
  requests = [{'text': text} for text in mixed_texts(1000)]
  assert {len(request['text']) > 2000 for request in requests} == {True, False}
  assert {'text': ''} in requests
  expected = in_process.in_process_answers(served, requests)
  # So short a training leaves the answers close together.
  assert np.ptp(expected[:, 0]) > 3e-4
  version = export_saved_model(finetuned, str(tmp_path))
  server = Server('TensorFlow', sys.executable, _SERVER, (version,))
  with running_server(server.python, server.file, version) as stub:
    for request, output, message in (
        ({'txt': 'a'}, 'label', "inputs ['txt'], where serving_default has "),
        ({'text': 'a'}, 'lable', "outputs ['lable'], where serving_default has ")):
      with pytest.raises(grpc.RpcError) as error:
        ask(stub, [request], signature='serving_default', concurrency=1,
            outputs=[output])
      assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
      assert error.value.details().startswith(message)
  figures = measure(
      [server], requests, expected, signature='serving_default',
      output='probabilities', levels=[16], rounds=1)
  print(table(figures))
  (row,) = figures
  assert row['largest_difference'] < 2e-6
  assert row['share_alike'] == 1
  assert 0 < row['p50_milliseconds'] <= row['p99_milliseconds']


def test_an_answer_that_is_not_a_number_is_no_match():
  expected = np.array([[0.5], [0.5], [0.5]], np.float32)
  answers = [
      Answers([{'score': np.array([[value]], np.float32)} for value in values],
              latencies=np.ones(3), seconds=1.0)
      for values in ([0.5, 0.75, 0.5], [0.5, np.nan, 0.5])]
  assert compare(answers[:1], expected, 'score') == (0.25, 2 / 3)
  worst, share = compare(answers, expected, 'score')
  # As the command looks at it, which then fails.
  assert not worst <= 1e-5
  assert share == 4 / 6


def test_a_server_that_cannot_start_says_why(tmp_path):
  server = Server('none', sys.executable, _SERVER, (str(tmp_path / 'nothing'),))
  with pytest.raises(RuntimeError, match='did not start: .*nothing'):
    measure([server], [{'text': 'a'}], np.zeros([1, 1]), signature='s',
            output='o', levels=[1], rounds=1)


def _check(*arguments):
  return subprocess.run(
      [sys.executable, '-m', 'official_ext.export.serving_check.check',
       *arguments], capture_output=True, text=True, check=False)


def test_flags_are_checked_before_anything_is_loaded():
  finished = _check(
      '--model_dir=x', '--huggingface_python=/no/python', '--concurrency=0,a',
      '--server_options=batch_size=4,max_batch_size=b')
  assert finished.returncode == 2
  assert finished.stderr.splitlines() == [
      'error: 6 mistakes:',
      "  --concurrency has '0'; give whole numbers of at least 1",
      "  --concurrency has 'a'; give whole numbers of at least 1",
      "  --server_options has 'batch_size'; did you mean 'max_batch_size'?",
      "  --server_options has 'max_batch_size=b'; give max_batch_size= and a "
      'whole number',
      '  --huggingface_python and --huggingface_model go together; give both.',
      '  --huggingface_python /no/python is no program; give the interpreter of '
      'an environment with torch and transformers']


@pytest.mark.slow
def test_the_command_prints_a_table(finetuned):
  finished = _check(f'--model_dir={finetuned}', '--num_requests=50',
                    '--concurrency=1,8', '--rounds=1')
  assert finished.returncode == 0, finished.stderr
  assert finished.stdout.count('| TensorFlow |') == 2
  assert 'All 50 answers are those of the model' in finished.stdout
