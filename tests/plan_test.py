"""The command `plan`."""

import json
import subprocess
import sys

import pytest


def run_plan(*flags):
  return subprocess.run(
      [sys.executable, '-m', 'official_ext.plan', *flags],
      capture_output=True, text=True, timeout=120, check=False)


def test_plans_without_data_or_device():
  result = run_plan('--gin_file=experiments/compound_grow_base.gin',
                    '--tpu_topology=v3:8x8', '--nopreflight')
  assert result.returncode == 0, result.stderr
  assert '2 sequences on each of 128 cores' in result.stdout
  assert '+117.9 %' in result.stdout


def test_json_against_a_baseline_of_ones_own():
  result = run_plan(
      '--gin_file=experiments/compound_grow_base.gin',
      '--baseline_gin_file=experiments/stack_base.gin', '--num_cores=128',
      '--json')
  assert result.returncode == 0, result.stderr
  values = json.loads(result.stdout)
  # (1 + 1.179) / (1 + 0.693), of the whole model's forward passes.
  assert values['speedup']['forward_flops'] == pytest.approx(0.287, abs=0.001)
  assert 0.2 < values['speedup']['train_flops'] < 0.3


def test_a_baseline_that_differs_in_more_than_its_schedule_is_told():
  result = run_plan(
      '--gin_file=experiments/compound_grow_tiny.gin',
      '--baseline_gin_file=experiments/scratch_gpt_tiny.gin', '--num_cores=2',
      '--gin_params=BATCH_SIZE = 4', '--gin_params=PRECISION = "mixed_bfloat16"')
  assert result.returncode == 0, result.stderr
  assert result.stderr.splitlines() == [
      'warning: the baseline is to become another model; speed-ups are over that',
      'warning: batch_size is 8 in the baseline and 4 in this run; speed-ups are '
      'over all of that, too',
      'warning: precision is float32 in the baseline and mixed_bfloat16 in this '
      'run; speed-ups are over all of that, too']


def test_executes_where_there_is_an_accelerator_and_else_says_so():
  result = run_plan('--gin_file=experiments/scratch_tiny.gin', '--execute')
  assert result.returncode == 0, result.stderr
  assert 'forward FLOPs' in result.stdout
  if 'Executed on one' not in result.stdout:
    assert result.stderr == 'not executed: JAX finds no GPU or TPU here\n'


def test_long_names_of_stages_cut_no_figure():
  result = run_plan('--gin_file=experiments/bert2bert_base.gin',
                    "--gin_params=INIT_CHECKPOINT = ''")
  assert result.returncode == 0, result.stderr
  assert '48.2\N{NO-BREAK SPACE}GB' in result.stdout
  assert '…' not in result.stdout


def test_baseline_is_read_before_anything_is_compiled(tmp_path):
  result = run_plan('--gin_file=experiments/compound_grow_base.gin',
                    '--tpu_topology=v3:2x2', '--baseline_gin_file=nope.gin',
                    f'--cache_dir={tmp_path}')
  assert result.returncode == 2
  assert result.stderr.startswith('error: --gin_file nope.gin: there is no such file'), (
      result.stderr)


def test_mistakes_are_one_line():
  result = run_plan('--gin_file=experiments/scratch_base.gin',
                    '--tpu_topology=v3')
  assert result.returncode == 2
  assert result.stderr.startswith("error: tpu_topology is 'v3'; give a chip")
  assert len(result.stderr.splitlines()) == 1
  assert 'no --gin_file is given' in run_plan().stderr
