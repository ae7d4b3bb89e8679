"""Whether two runs came to the same, to the bit."""

import json
import os

import numpy as np
import tensorflow as tf

# Time and its derivatives differ from run to run.
CLOCKED = {'wall_seconds', 'step_seconds', 'step_processor_seconds',
           'tokens_per_second',
           'tracing_seconds', 'seconds', 'spent_seconds'}


def tensors(run_dir) -> dict[str, np.ndarray]:
  """Everything in the newest checkpoint: weights, optimizer, random state."""
  reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(
      os.path.join(run_dir, 'checkpoints')))
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()
          if 'OBJECT_GRAPH' not in name}


def records(run_dir, name) -> list[dict]:
  """The lines of a JSON-lines file, without what the clock says."""
  with open(os.path.join(run_dir, name)) as file:
    return [{key: value for key, value in json.loads(line).items()
             if key not in CLOCKED} for line in file]


def assert_same(run_dir, undisturbed_dir) -> int:
  """Compares two finished runs; returns how many tensors they have."""
  all_expected, all_actual = tensors(undisturbed_dir), tensors(run_dir)
  assert all_expected.keys() == all_actual.keys()
  for name, value in all_expected.items():
    np.testing.assert_array_equal(all_actual[name], value, err_msg=name)
  for name in ('metrics.jsonl', 'growth.jsonl'):
    actual, expected = records(run_dir, name), records(undisturbed_dir, name)
    assert len(actual) == len(expected), (name, len(actual), len(expected))
    for line, expected_line in zip(actual, expected):
      assert line == expected_line, f'{name}: {line} is not {expected_line}'
  return len(all_expected)
