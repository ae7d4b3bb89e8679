"""What every test runs under: two logical CPUs, fixed seeds, no accelerator.

TensorFlow is set up at the moment something imports it, so that a test file
that needs only numpy does not pay for it.
"""

import gc
import os
import random
import sys

import hypothesis
import numpy as np
import pytest
import wrapt

_SEED = int(os.environ.get('OFFICIAL_EXT_TEST_SEED', '0'))

# TensorFlow reads these when it is loaded. One thread an op: as many workers
# run beside each other as there are cores.
os.environ.setdefault('TF_NUM_INTRAOP_THREADS', '1')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

# A graph that is traced is hundreds of thousands of objects, hardly any of them
# garbage: to look for some after every 700 takes a tenth of the time.
gc.set_threshold(50_000, 10, 10)

hypothesis.settings.register_profile(
    'ci', derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.register_profile(
    'explore', deadline=None, database=None, max_examples=1000)
hypothesis.settings.register_profile(
    'soak', deadline=None, database=None, max_examples=800, print_blob=True)
hypothesis.settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'ci'))


@wrapt.when_imported('tensorflow')
def _use_two_logical_cpus(tf):
  """Lets replicas be tested; possible only before TensorFlow's first op."""
  tf.config.set_visible_devices([], 'GPU')
  tf.config.set_logical_device_configuration(
      tf.config.list_physical_devices('CPU')[0],
      [tf.config.LogicalDeviceConfiguration()] * 2)
  # Its modules stay for good; no collection has to go through them.
  gc.freeze()


def pytest_report_header() -> str:
  hash_seed = os.environ.get('PYTHONHASHSEED', 'random')
  return f'seed: {_SEED} (OFFICIAL_EXT_TEST_SEED), PYTHONHASHSEED: {hash_seed}'


# Half a minute and more: they begin before the others, so that no worker is left
# with one of them when all else is done. `make test` keeps the order.
_LONGEST_FIRST = (
    'training/resume_test.py', 'experiments_test.py', 'training/methods_test.py',
    'training/stage_changes_test.py', 'modeling/pretrainer_test.py',
    'training/strategies_agree_test.py', 'export/serving_check_test.py',
    'modeling/tracking_test.py', 'export/finetuned_saved_model_test.py',
    'training/progressive_growth_test.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  def rank(item):
    path = item.path.as_posix()
    return next((rank for rank, name in enumerate(_LONGEST_FIRST)
                 if path.endswith(f'tests/{name}')), len(_LONGEST_FIRST))

  items.sort(key=rank)


@pytest.fixture(autouse=True)
def seed() -> int:
  """Seeds every generator that a test could forget to seed; returns the seed."""
  random.seed(_SEED)
  np.random.seed(_SEED)
  if 'tensorflow' in sys.modules:
    sys.modules['tensorflow'].random.set_seed(_SEED)
  return _SEED


@pytest.fixture(scope='session')
def mirrored():
  """Two logical CPUs.

  One for the whole process: every MirroredStrategy counts its collectives from
  the same number, and TensorFlow takes a second one's for repeats of the first.
  """
  import tensorflow as tf  # pylint: disable=g-import-not-at-top
  return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
