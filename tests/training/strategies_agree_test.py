"""One device and two worker processes compute the same, in small.

Two replicas: progressive_growth_test.py and methods_test.py. Whole runs by the
command, on all three, killed and resumed: multi_worker_test.py.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from official_ext.data.loader import BatchSlice
from official_ext.data.loader import PretrainLoader
from official_ext.data.manifest import Manifest
from tests.training import strategy_fit
from tests.training import tiny_run
from tests.training import worker_processes
from tests.training.forked_process import ForkedProcesses


def test_two_workers_agree_with_one_device_through_two_growths(tmp_path):
  data_dir = tiny_run.write_data(tmp_path / 'data')
  output = tmp_path / 'result'
  addresses = worker_processes.free_addresses(2)
  processes = [
      ForkedProcesses().start(
          tmp_path / f'log.{index}', strategy_fit.work, addresses, index,
          data_dir, str(output))
      for index in range(2)]
  try:
    losses, _ = strategy_fit.fit(data_dir, tf.distribute.get_strategy())
    for index, process in enumerate(processes):
      process.join(timeout=600)
      assert process.exitcode == 0, (tmp_path / f'log.{index}').read_text()
  finally:
    for process in processes:
      process.kill()
  chief, other = (
      json.loads((tmp_path / f'result.{is_chief}').read_text())
      for is_chief in (1, 0))
  assert chief['replicas'] == 2
  assert len(losses) == strategy_fit.NUM_STEPS
  np.testing.assert_allclose(chief['losses'], losses, rtol=1e-5)
  # The workers grow by themselves, each out of its own copy of the weights.
  assert len(chief['digests']) == 3 == len(set(chief['digests']))
  assert other == chief


@pytest.mark.parametrize('num_workers', [2, 4])
def test_fewer_shards_than_workers_change_nothing(tmp_path, num_workers):
  # Records are read by their number, whatever file they are in.
  data_dir = tiny_run.write_data(tmp_path / 'data', shard_sizes=(30,))
  loader = PretrainLoader(data_dir, Manifest.read(data_dir))

  def words(**share):
    batches = loader.training_batches(
        BatchSlice(8, **share), seed=5, start_step=2)
    return [batch['input_word_ids'].numpy() for batch in batches.take(6)]

  whole = words()
  shares = [
      words(num_pipelines=num_workers, pipeline=index, num_replicas=num_workers)
      for index in range(num_workers)]
  for step, batch in enumerate(whole):
    np.testing.assert_array_equal(
        np.concatenate([share[step] for share in shares]), batch)
