"""The command `plan`."""

import json
import subprocess
import sys


def run_plan(*flags):
  return subprocess.run(
      [sys.executable, '-m', 'official_ext.plan', *flags],
      capture_output=True, text=True, timeout=120, check=False)


def test_plans_without_data_or_device():
  result = run_plan('--gin_file=experiments/compound_grow_base.gin',
                    '--tpu_topology=v3:8x8', '--nopreflight')
  assert result.returncode == 0, result.stderr
  assert '2 sequences on each of 128 cores' in result.stdout
  assert '+101.6 %' in result.stdout


def test_json_against_a_baseline_of_ones_own():
  result = run_plan(
      '--gin_file=experiments/compound_grow_base.gin',
      '--baseline_gin_file=experiments/stack_base.gin', '--num_cores=128',
      '--json')
  assert result.returncode == 0, result.stderr
  values = json.loads(result.stdout)
  # 2.016 / 1.693 of the whole model's steps.
  assert 0.15 < values['speedup']['train_flops'] < 0.25


def test_executes_where_there_is_an_accelerator_and_else_says_so():
  result = run_plan('--gin_file=experiments/scratch_tiny.gin', '--execute')
  assert result.returncode == 0, result.stderr
  assert 'forward FLOPs' in result.stdout
  if 'Executed on one' not in result.stdout:
    assert result.stderr == 'not executed: JAX finds no GPU or TPU here\n'


def test_mistakes_are_one_line():
  result = run_plan('--gin_file=experiments/scratch_base.gin',
                    '--tpu_topology=v3')
  assert result.returncode == 2
  assert result.stderr.startswith("error: tpu_topology is 'v3'; give a chip")
  assert len(result.stderr.splitlines()) == 1
  assert 'no --gin_file is given' in run_plan().stderr
