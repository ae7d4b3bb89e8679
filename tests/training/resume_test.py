"""A run that is killed ends as one that never was, to the bit."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.training import tiny_run

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
# A growth is at step 4, another at step 7. With a checkpoint every 2 steps
# these die before a boundary, at it, inside it and after it.
DEATHS = (('step', 3), ('growing', 4), ('saving', 4), ('step', 5))
# Time and its derivatives differ from run to run.
CLOCKED = {'wall_seconds', 'step_seconds', 'tokens_per_second',
           'tracing_seconds', 'seconds', 'spent_seconds'}


def run(tmp_path, name, moment, step):
  return subprocess.run(
      [sys.executable, '-m', 'tests.training.killed_run', str(tmp_path), name,
       moment, str(step)],
      cwd=ROOT, capture_output=True, text=True, check=False)


def tensors(run_dir):
  reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(
      os.path.join(run_dir, 'checkpoints')))
  # The save counter counts files written, which is not the same after a kill.
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()
          if 'save_counter' not in name and 'OBJECT_GRAPH' not in name}


def records(run_dir, name):
  with open(os.path.join(run_dir, name)) as file:
    return [{key: value for key, value in json.loads(line).items()
             if key not in CLOCKED} for line in file]


def test_killed_run_ends_bit_identical(tmp_path):
  tiny_run.config(tmp_path)  # Writes the data once.
  undisturbed = run(tmp_path, 'undisturbed', 'never', 0)
  assert undisturbed.returncode == 0, undisturbed.stderr
  for moment, step in DEATHS:
    killed = run(tmp_path, 'killed', moment, step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
  resumed = run(tmp_path, 'killed', 'never', 0)
  assert resumed.returncode == 0, resumed.stderr
  assert "resuming at step 4, stage 'deep'" in resumed.stderr

  expected = tensors(tmp_path / 'undisturbed')
  actual = tensors(tmp_path / 'killed')
  assert expected.keys() == actual.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(actual[name], value, err_msg=name)
  for name in ('metrics.jsonl', 'growth.jsonl'):
    assert records(tmp_path / 'killed', name) == records(
        tmp_path / 'undisturbed', name)
