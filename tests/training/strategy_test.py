"""The strategies by their names, and TPUs that cannot be had.

No TPU was at hand: what TensorFlow does once a resolver has found one is
replaced here by notes of what it was asked for.
"""

import socket

import pytest
import tensorflow as tf

from official_ext.training import strategy as strategy_lib
from official_ext.training.strategy import build_strategy


def test_one_device_wraps_nothing():
  assert build_strategy('one_device') is tf.distribute.get_strategy()


def test_an_unknown_name_is_refused():
  with pytest.raises(ValueError, match="strategy is 'ring'; expected one of "):
    build_strategy('ring')


def test_more_replicas_than_devices_are_refused():
  with pytest.raises(ValueError, match='num_replicas is 3, but this machine has '
                     '2 CPU devices; ask for at most that many'):
    build_strategy('mirrored', num_replicas=3)


class Resolver:
  """A TPU that was found, as far as connecting to it goes."""

  def __init__(self, address):
    self._address = address

  def master(self):
    return self._address


def found_tpu(monkeypatch, address):
  """Replaces the TPU; returns the list of what is asked of TensorFlow."""
  asked, resolver = [], Resolver(address)

  def resolve(tpu):
    asked.append(tpu)
    return resolver

  def note(name, result=None):
    def noted(argument):
      assert argument is resolver
      asked.append(name)
      return result
    return noted

  monkeypatch.setattr(
      tf.distribute.cluster_resolver, 'TPUClusterResolver', resolve)
  monkeypatch.setattr(
      tf.config, 'experimental_connect_to_cluster', note('connect'))
  monkeypatch.setattr(
      tf.tpu.experimental, 'initialize_tpu_system', note('initialize'))
  monkeypatch.setattr(tf.distribute, 'TPUStrategy', note('build', 'strategy'))
  return asked


def test_a_local_tpu_is_initialised(monkeypatch):
  asked = found_tpu(monkeypatch, '')
  assert build_strategy('tpu', tpu='local') == 'strategy'
  assert asked == ['local', 'connect', 'initialize', 'build']


def test_a_tpu_by_name_is_connected_to_at_its_address(monkeypatch):
  with socket.create_server(('localhost', 0)) as server:
    asked = found_tpu(
        monkeypatch, f'grpc://localhost:{server.getsockname()[1]}')
    assert build_strategy('tpu', tpu='my-tpu') == 'strategy'
  assert asked == ['my-tpu', 'connect', 'initialize', 'build']


def test_a_tpu_that_does_not_answer_is_one_error_and_no_wait(monkeypatch):
  with socket.create_server(('localhost', 0)) as server:
    address = f'localhost:{server.getsockname()[1]}'
  asked = found_tpu(monkeypatch, f'grpc://{address}')
  with pytest.raises(ValueError, match=(
      f"^the TPU 'my-tpu' cannot be used: nobody answers at {address} "
      r'\(.*refused\); `python -m official_ext.doctor --tpu` looks for the '
      r'reason\.$')):
    build_strategy('tpu', tpu='my-tpu')
  assert asked == ['my-tpu']


def test_an_address_is_not_waited_for():
  # The real resolver; TensorFlow would wait for the address for ever.
  with socket.create_server(('localhost', 0)) as server:
    address = f'grpc://localhost:{server.getsockname()[1]}'
  with pytest.raises(ValueError, match='nobody answers at localhost:'):
    build_strategy('tpu', tpu=address)


def test_a_name_that_cannot_be_looked_up_is_one_error(monkeypatch):
  def resolve(tpu):
    del tpu
    raise RuntimeError('no such\nnode')
  monkeypatch.setattr(
      tf.distribute.cluster_resolver, 'TPUClusterResolver', resolve)
  with pytest.raises(ValueError, match="the TPU 'none' cannot be used: no such "
                     'node; `python'):
    build_strategy('tpu', tpu='none')


class Cpus:
  """What a strategy says of its devices."""

  def __init__(self, num_replicas, devices):
    self.num_replicas_in_sync = num_replicas
    self.extended = self
    self.worker_devices = devices


@pytest.mark.parametrize('devices', [
    ('/device:CPU:0', '/device:CPU:1'),
    # Of two workers each sees its own.
    ('/job:worker/task:0/device:CPU:0',)])
def test_xla_over_several_cpus_is_refused(devices):
  with pytest.raises(ValueError, match='jit_compile is True, but the 2 replicas'):
    strategy_lib.check_jit_compile(Cpus(2, devices))
  strategy_lib.check_jit_compile(Cpus(1, devices[:1]))
