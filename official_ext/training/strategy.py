"""From the name of a strategy to the `tf.distribute` object."""

import signal
import socket

import tensorflow as tf

from official_ext.mistakes import one_line
from official_ext.training import coordination
from official_ext.training.config_fields import CHOICES

STRATEGIES = CHOICES['strategy']
_TPU_TIMEOUT_SECONDS = 30.0


def build_strategy(name: str, *, tpu: str = '', num_replicas: int | None = None
                   ) -> tf.distribute.Strategy:
  """Connects to the devices.

  Args:
    name: one of `STRATEGIES`.
    tpu: name or address of the TPU, 'local' on a single TPU VM.
    num_replicas: devices that 'mirrored' uses; None means all of them.

  Returns:
    The strategy. 'one_device' is the default strategy, so that nothing is
    wrapped.

  Raises:
    ValueError: the name is unknown, there are too few devices, or the TPU
      cannot be reached.
  """
  if name == 'one_device':
    return tf.distribute.get_strategy()
  if name == 'mirrored':
    return tf.distribute.MirroredStrategy(_mirrored_devices(num_replicas))
  if name == 'multi_worker':
    return _multi_worker()
  if name == 'tpu':
    return _tpu(tpu)
  raise ValueError(
      f'strategy is {name!r}; expected one of {", ".join(STRATEGIES)}.')


def check_jit_compile(strategy: tf.distribute.Strategy) -> None:
  """Refuses what XLA would fail at in the first step, in words of its own.

  Raises:
    ValueError: the replicas are logical CPUs, of which XLA uses the first only.
  """
  num_replicas = strategy.num_replicas_in_sync
  if num_replicas > 1 and 'CPU' in strategy.extended.worker_devices[0]:
    raise ValueError(
        f'jit_compile is True, but the {num_replicas} replicas are CPUs, of '
        'which XLA uses only the first; set jit_compile = False or '
        "strategy = 'one_device'.")


def _multi_worker() -> tf.distribute.Strategy:
  cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
  if cluster.jobs:
    coordination.configure(cluster)
  handler = signal.getsignal(signal.SIGTERM)
  strategy = tf.distribute.MultiWorkerMirroredStrategy()
  # TensorFlow has taken the signal for itself, and swallows it.
  signal.signal(signal.SIGTERM, handler)
  return strategy


def _tpu(name: str) -> tf.distribute.Strategy:
  try:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
    address = resolver.master()
    if address:
      _check_answers(address.removeprefix('grpc://'))
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
  # The resolver asks a web service, whose errors are of many types.
  except Exception as error:
    raise ValueError(
        f'the TPU {name!r} cannot be used: {one_line(error)}; '
        '`python -m official_ext.doctor --tpu` looks for the reason.') from error


def _check_answers(address: str) -> None:
  """TensorFlow itself would wait for the address for ever, and say nothing.

  Raises:
    OSError: nobody listens there, or nothing comes back.
  """
  host, _, port = address.rpartition(':')
  try:
    with socket.create_connection(
        (host.strip('[]'), int(port)), timeout=_TPU_TIMEOUT_SECONDS):
      pass
  except OSError as error:
    raise OSError(f'nobody answers at {address} ({one_line(error)})') from error


def _split_cpu(num_devices: int) -> None:
  """Makes logical CPUs, if TensorFlow has not started and none were made."""
  cpu = tf.config.list_physical_devices('CPU')[0]
  if tf.config.get_logical_device_configuration(cpu) is None:
    try:
      tf.config.set_logical_device_configuration(
          cpu, [tf.config.LogicalDeviceConfiguration()] * num_devices)
    except RuntimeError:
      # TensorFlow runs already; the caller counts the devices there are.
      pass


def _mirrored_devices(num_replicas: int | None) -> list[str]:
  kind = 'GPU' if tf.config.list_physical_devices('GPU') else 'CPU'
  if kind == 'CPU' and num_replicas:
    _split_cpu(num_replicas)
  devices = [device.name for device in tf.config.list_logical_devices(kind)]
  if num_replicas is None:
    return devices
  if num_replicas > len(devices):
    raise ValueError(
        f'num_replicas is {num_replicas}, but this machine has {len(devices)} '
        f'{kind} devices; ask for at most that many.')
  return devices[:num_replicas]
