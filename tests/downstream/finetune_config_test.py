"""A fine-tuning's configuration: every mistake, and the grid."""

import dataclasses

import pytest

from official_ext.downstream import finetune_config
from official_ext.downstream.finetune_config import FinetuneConfig
from official_ext.downstream.glue_tasks import GLUE_TASKS
from official_ext.training.config_fields import CHOICES

SOUND = FinetuneConfig(
    task='cola', task_dir='CoLA', checkpoint='run', output_dir='out')


def test_the_names_are_those_of_the_tables():
  assert finetune_config.GLUE_TASK_NAMES == tuple(GLUE_TASKS)
  assert set(finetune_config.STRATEGIES) <= set(CHOICES['strategy'])
  assert finetune_config.PRECISIONS == CHOICES['precision']


def test_nothing_is_wrong_with_a_sound_one_and_every_field_is_checked():
  assert not SOUND.mistakes()
  for field in dataclasses.fields(FinetuneConfig):
    # No field takes a set.
    wrong = dataclasses.replace(SOUND, **{field.name: {1}}).mistakes()
    assert any(line.startswith(f'{field.name} is {{1}}; ') for line in wrong), (
        field.name)


def test_what_is_missing_is_asked_for():
  assert FinetuneConfig().mistakes() == [
      'task is missing (one of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, '
      'wnli, glue, squad11, squad20); give --task',
      "task_dir is missing (the task's files); give --task_dir",
      'checkpoint is missing (what to fine-tune); give --checkpoint',
      'output_dir is missing (where the results go); give --output_dir']


@pytest.mark.parametrize('changes, message', [
    (dict(task='colla'),
     "task is 'colla'; give one of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, "
     "wnli, glue, squad11, squad20; did you mean 'cola'?"),
    (dict(task=1),
     'task is 1; give one of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, '
     'glue, squad11, squad20'),
    (dict(batch_sizes=32), 'batch_sizes is 32; give a list, such as (16, 32)'),
    (dict(batch_sizes=()), 'batch_sizes is (); give a list, such as (16, 32)'),
    (dict(batch_sizes=(16, 0)),
     'batch_sizes is (16, 0); 0: give a whole number of at least 1'),
    (dict(seeds=(1, 1)), 'seeds is (1, 1); give each value once'),
    (dict(seeds=([1],)),
     'seeds is ([1],); [1]: give a whole number of at least 0'),
    (dict(learning_rates=(0,)),
     'learning_rates is (0,); 0: give a number above 0'),
    (dict(output_dropout=1.0),
     'output_dropout is 1.0; give a number of at least 0 and below 1'),
    (dict(num_epochs=float('nan')),
     'num_epochs is nan; give a number above 0'),
    (dict(null_score_threshold=float('inf')),
     'null_score_threshold is inf; give a number'),
    (dict(seq_length=4), 'seq_length is 4; give a whole number of at least 8'),
    (dict(lower_case='yes'), "lower_case is 'yes'; give True or False"),
    (dict(strategy='multi_worker'),
     "strategy is 'multi_worker'; give one of one_device, mirrored, tpu"),
    (dict(strategy='tpu'),
     "tpu is missing though strategy is 'tpu'; give --tpu with its name, or "
     "'local' on a TPU VM"),
    (dict(tpu='pod'),
     "tpu is 'pod' but strategy is 'one_device'; set strategy = 'tpu' or drop tpu"),
    (dict(num_replicas=2),
     "num_replicas is 2 but strategy 'one_device' has one; set strategy = "
     "'mirrored' or drop num_replicas"),
    (dict(strategy='mirrored', num_replicas=3, batch_sizes=(16, 30)),
     'batch_sizes: 16 is not divisible by 3 replicas; the nearest that is: 15'),
    (dict(task='squad11', seq_length=64),
     'seq_length is 64, but a question may take max_query_length = 64 tokens of '
     'it; give at least 68'),
    (dict(task='squad11', seq_length=128),
     'doc_stride is 128, but a window beside a long question has 61 tokens, so '
     'that words would be skipped; give at most 61'),
])
def test_a_mistake_says_what_was_given_and_the_mend(changes, message):
  assert dataclasses.replace(SOUND, **changes).mistakes() == [message]


def test_the_grid_is_every_combination():
  trials = dataclasses.replace(
      SOUND, batch_sizes=(16, 32), learning_rates=(1e-4, 3e-5), seeds=(0, 7),
      num_epochs=4.0).trials()
  assert [trial.name for trial in trials] == [
      f'batch{size}_rate{rate}_seed{seed}' for seed in (0, 7)
      for size in (16, 32) for rate in ('0.0001', '3e-05')]
  assert {trial.num_epochs for trial in trials} == {4.0}
