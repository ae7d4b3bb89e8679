"""Tasks from files to predictions: a sweep, its resume, the aggregate."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from official_ext.data.tokenizer import build_tokenizer
from official_ext.downstream import finetuning
from official_ext.downstream import sweep as sweep_lib
from official_ext.downstream.finetune_config import FinetuneConfig
from official_ext.downstream.finetuned_model import load_finetuned
from official_ext.downstream.finetuning import finetune
from official_ext.downstream.glue_tasks import GLUE_TASKS
from official_ext.downstream.text_features import pack_texts
from official_ext.downstream.text_features import padded_inputs
from official_ext.mistakes import ConfigurationError
from tests.downstream import samples


@pytest.fixture(autouse=True)
def _one_device_is_the_default():
  """What a fine-tuning sets for its process."""
  policy = tf_keras.mixed_precision.global_policy()
  yield
  tf_keras.mixed_precision.set_global_policy(policy)


def config(task, task_dir, checkpoint, output_dir, **changes):
  options = dict(
      batch_sizes=(8,), learning_rates=(1e-2,), num_epochs=2.0,
      output_dropout=0.0, attention_dropout=0.0, checkpoint_interval_steps=5,
      deterministic=False)
  if task.startswith('squad'):
    options |= dict(seq_length=16, doc_stride=4, max_query_length=5,
                    max_answer_length=4, n_best_size=5)
  return FinetuneConfig(task=task, task_dir=str(task_dir), checkpoint=checkpoint,
                        output_dir=str(output_dir), **options | changes)


def folder_of(task, glue_dir):
  return os.path.join(glue_dir, GLUE_TASKS[task].folder)


def read_json(*parts):
  with open(os.path.join(*map(str, parts))) as file:
    return json.load(file)


def read_rows(*parts):
  with open(os.path.join(*map(str, parts))) as file:
    return [line.rstrip('\n').split('\t') for line in file]


class Killed(Exception):
  """What ends a process, for a test."""


def kill_after(monkeypatch, steps):
  """Kills the next fine-tunings once they have done so many steps."""
  advance_to = sweep_lib.Progress.advance_to

  def killing(self, done):
    advance_to(self, done)
    if done >= steps:
      raise Killed
  monkeypatch.setattr(sweep_lib.Progress, 'advance_to', killing)
  return lambda: monkeypatch.setattr(
      sweep_lib.Progress, 'advance_to', advance_to)


def check_submission(task, output_dir, count=7):
  """The files of a task's predictions hold what GLUE asks for."""
  for name in GLUE_TASKS[task].test_files:
    header, *rows = read_rows(output_dir, 'predictions', name)
    assert header == ['index', 'prediction']
    assert [index for index, _ in rows] == [str(n) for n in range(count)]
    for _, prediction in rows:
      if task == 'stsb':
        assert 0 <= float(prediction) <= 5
      else:
        assert prediction in GLUE_TASKS[task].label_names


def test_cola_is_learnt_swept_killed_and_resumed(
    glue_dir, checkpoint, tmp_path, monkeypatch):
  grid = config('cola', folder_of('cola', glue_dir), checkpoint,
                tmp_path / 'out', learning_rates=(1e-6, 3e-2), num_epochs=6.0)
  said = []
  # In the second of two trials of 48 steps.
  revive = kill_after(monkeypatch, 60)
  with pytest.raises(Killed):
    finetune(grid, say=said.append)
  assert os.listdir(tmp_path / 'out' / 'trials')
  assert not os.path.exists(tmp_path / 'out' / 'results.json')
  first = read_json(tmp_path, 'out', 'trials', 'batch8_rate1e-06_seed0',
                    'result.json')
  assert load_finetuned(
      str(tmp_path / 'out' / 'finetuned')).task.trial == 'batch8_rate1e-06_seed0'
  revive()
  summary = finetune(grid, say=said.append)['checkpoint']['cola']
  assert not said

  assert summary['trials']['batch8_rate1e-06_seed0'] == first
  assert summary['best'] == 'batch8_rate0.03_seed0'
  # Half of the labels are 1, and the word that decides is always there.
  assert summary['metrics']['matthews'] > 0.9
  assert {**read_json(tmp_path, 'out', 'results.json'),
          'finetuned': str(tmp_path / 'out' / 'finetuned')} == summary
  check_submission('cola', tmp_path / 'out')
  assert not [name for _, _, names in os.walk(tmp_path / 'out' / 'trials')
              for name in names if 'ckpt' in name]
  assert not os.path.exists(tmp_path / 'out' / 'finetuned.new')

  # The saved model, by itself, from strings.
  found = load_finetuned(summary['finetuned'])
  assert found.task.trial == summary['best']
  assert found.task.metrics == summary['metrics']
  tokenizer = build_tokenizer(
      found.vocabulary_file, lower_case=found.task.lower_case)
  texts = [row[1] for row in read_rows(folder_of('cola', glue_dir), 'test.tsv')]
  words, types = pack_texts(
      tokenizer, tf.constant(texts[1:]), None, found.task.seq_length)
  logits = found.model(padded_inputs(words, types, 24))
  predictions = [row[1] for row in read_rows(
      tmp_path, 'out', 'predictions', 'CoLA.tsv')][1:]
  assert predictions == [str(value) for value in np.argmax(logits, axis=1)]
  assert predictions == [str(int('good' in text.split())) for text in texts[1:]]

  # A wider grid adds to what there is, another configuration is refused.
  times = os.stat(tmp_path / 'out' / 'results.json').st_mtime_ns
  assert finetune(grid, say=said.append)['checkpoint']['cola'] == summary
  assert os.stat(tmp_path / 'out' / 'results.json').st_mtime_ns == times
  # A test file may come later: it is answered, and nothing is trained again.
  shutil.copytree(folder_of('cola', glue_dir), tmp_path / 'more')
  # Of the kind that was learnt: of others the model may say anything.
  good = next(text for text in texts[1:] if 'good' in text.split())
  with open(tmp_path / 'more' / 'test.tsv', 'a') as file:
    file.write(f'999\t{good}\n')
  models = sorted((tmp_path / 'out' / 'finetuned').rglob('*'))
  again = finetune(dataclasses.replace(grid, task_dir=str(tmp_path / 'more')),
                   say=said.append)['checkpoint']['cola']
  assert again['trials'] == summary['trials']
  assert sorted((tmp_path / 'out' / 'finetuned').rglob('*')) == models
  assert read_rows(
      tmp_path, 'out', 'predictions', 'CoLA.tsv')[-1] == ['999', '1']
  other = config('cola', folder_of('cola', glue_dir), checkpoint,
                 tmp_path / 'out', num_epochs=7.0)
  with pytest.raises(ConfigurationError) as error:
    finetune(other, say=said.append)
  assert str(error.value) == (
      f'output_dir {tmp_path}/out holds results of another configuration '
      '(num_epochs was 6.0, is 7.0); take another --output_dir')
  pieces = (tmp_path / 'out' / 'finetuned' / 'vocab.txt').read_text().split()
  (tmp_path / 'other.txt').write_text(
      '\n'.join([*pieces[:-2], pieces[-1], pieces[-2]]) + '\n')
  with pytest.raises(ConfigurationError, match=r'\(vocabulary_sha256 was '):
    finetune(dataclasses.replace(grid, vocab_file=str(tmp_path / 'other.txt')),
             say=said.append)


@pytest.mark.slow
@pytest.mark.parametrize('task', [
    'stsb', 'sst2', 'mrpc', 'qqp', 'mnli', 'qnli', 'rte', 'wnli'])
def test_a_task_of_glue_is_killed_resumed_and_predicted(
    task, glue_dir, checkpoint, tmp_path, monkeypatch):
  plain = config(task, folder_of(task, glue_dir), checkpoint, tmp_path)
  revive = kill_after(monkeypatch, 6)
  monkeypatch.setattr('official_ext.downstream.trial._STEPS_A_CALL', 2)
  with pytest.raises(Killed):
    finetune(plain, say=print)
  assert os.listdir(tmp_path / 'trials' / 'batch8_rate0.01_seed0' / 'checkpoints')
  revive()
  summary = finetune(plain, say=print)['checkpoint'][task]
  assert set(summary['metrics']) == {
      GLUE_TASKS[task].metric_name(metric, split)
      for split in GLUE_TASKS[task].dev_files
      for metric in GLUE_TASKS[task].metrics}
  check_submission(task, tmp_path)
  assert load_finetuned(str(tmp_path / 'finetuned')).task.label_names == (
      GLUE_TASKS[task].label_names)


@pytest.mark.parametrize('task, version', [
    ('squad20', '2.0'), pytest.param('squad11', '1.1', marks=pytest.mark.slow)])
def test_a_squad_is_killed_resumed_and_answered(
    task, version, checkpoint, tmp_path, monkeypatch):
  squad_dir = samples.write_squad(tmp_path / 'squad', version)
  plain = config(task, squad_dir, checkpoint, tmp_path / 'out', num_epochs=1.0)
  revive = kill_after(monkeypatch, 4)
  monkeypatch.setattr('official_ext.downstream.trial._STEPS_A_CALL', 2)
  with pytest.raises(Killed):
    finetune(plain, say=print)
  revive()
  summary = finetune(plain, say=print)['checkpoint'][task]
  names = ['predictions.json', 'nbest_predictions.json']
  names += ['null_odds.json'] if version == '2.0' else []
  assert summary['predictions'] == names
  predictions, nbest, *odds = (
      read_json(tmp_path, 'out', 'predictions', name) for name in names)
  paragraphs = read_json(squad_dir, f'dev-v{version}.json')['data'][0][
      'paragraphs']
  contexts = {paragraph['qas'][0]['id']: paragraph['context']
              for paragraph in paragraphs}
  assert set(predictions) == set(nbest) == set(contexts)
  found = load_finetuned(str(tmp_path / 'out' / 'finetuned')).task
  for name, context in contexts.items():
    assert predictions[name] in context
    best = next(entry['text'] for entry in nbest[name] if entry['text'])
    is_null = bool(odds) and odds[0][name] > found.null_score_threshold
    assert predictions[name] == ('' if is_null else best)
  # By the definition, in the test's own words.
  exact = np.mean([
      predictions[q['id']] in ([a['text'] for a in q['answers']] or [''])
      for paragraph in paragraphs for q in paragraph['qas']])
  assert summary['metrics']['exact_match'] == pytest.approx(exact)
  assert (found.doc_stride, found.max_query_length, found.n_best_size) == (4, 5, 5)
  assert (found.null_score_threshold is None) == (version == '1.1')


@pytest.mark.slow
def test_a_diverging_trial_loses_and_the_others_go_on(
    glue_dir, checkpoint, tmp_path):
  said = []
  summary = finetune(
      config('rte', folder_of('rte', glue_dir), checkpoint, tmp_path,
             learning_rates=(1e30, 1e-3), num_epochs=0.5, gradient_clip_norm=0.0,
             warmup_fraction=0.0),
      say=said.append)['checkpoint']['rte']
  assert summary['best'] == 'batch8_rate0.001_seed0'
  lost = summary['trials']['batch8_rate1e+30_seed0']
  assert 'score' not in lost
  assert said == [f'warning: {lost["diverged"]}']


def test_all_mistakes_are_found_at_once_and_before_any_device(
    glue_dir, checkpoint, tmp_path, monkeypatch):
  def no_device(*args, **kwargs):
    raise AssertionError('a device is taken')
  monkeypatch.setattr(finetuning, 'build_strategy', no_device)
  (tmp_path / 'CoLA').mkdir()
  wrong = config(
      'glue', tmp_path, checkpoint, tmp_path / 'out', num_epochs=0.0,
      glue_tasks=('cola', 'rte'), baseline_checkpoint=str(tmp_path / 'none'))
  with pytest.raises(ConfigurationError) as error:
    finetune(wrong, say=print)
  starts = [mistake.split(';')[0] for mistake in error.value.mistakes]
  assert starts == [
      'num_epochs is 0.0',
      f'baseline_checkpoint: {tmp_path}/none has no checkpoint',
      f'{tmp_path}/CoLA/train.tsv is missing',
      f'{tmp_path}/CoLA/dev.tsv is missing',
      f'{tmp_path}/RTE/train.tsv is missing',
      f'{tmp_path}/RTE/dev.tsv is missing']
  too_long = config('rte', folder_of('rte', glue_dir), checkpoint, tmp_path,
                    seq_length=64, vocab_file=str(tmp_path / 'short.txt'))
  (tmp_path / 'short.txt').write_text(
      '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n')
  with pytest.raises(ConfigurationError) as error:
    finetune(too_long, say=print)
  assert error.value.mistakes == (
      f'checkpoint: {tmp_path}/short.txt has 5 pieces, the model 25; give its own '
      'vocabulary',)
  with pytest.raises(ConfigurationError) as error:
    finetune(config('rte', folder_of('rte', glue_dir), checkpoint, tmp_path,
                    seq_length=64), say=print)
  assert error.value.mistakes == (
      'seq_length is 64, but the model of --checkpoint has 32 positions; give at '
      'most 32',)
  with pytest.raises(
      ConfigurationError,
      match='seq_length is 32, but a question may take max_query_length = 64'):
    finetune(FinetuneConfig(
        task='squad11', task_dir=str(tmp_path), checkpoint=checkpoint,
        output_dir=str(tmp_path)), say=print)


@pytest.mark.slow
def test_all_of_glue_beside_a_baseline(glue_dir, checkpoint, tmp_path):
  summaries = finetune(
      config('glue', glue_dir, checkpoint, tmp_path, num_epochs=0.5,
             baseline_checkpoint=checkpoint), say=print)
  assert list(summaries) == ['checkpoint', 'baseline']
  for model, of_model in summaries.items():
    assert list(of_model) == list(GLUE_TASKS)
    for task, summary in of_model.items():
      folder = tmp_path / ('baseline' if model == 'baseline' else '') / task
      assert read_json(folder, 'results.json')['score'] == summary['score']
      check_submission(task, folder)
  # The same weights, the same settings, the same results.
  assert [summary['metrics'] for summary in summaries['checkpoint'].values()] == [
      summary['metrics'] for summary in summaries['baseline'].values()]
