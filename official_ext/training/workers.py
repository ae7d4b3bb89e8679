"""What the processes of one run have to agree on, and what ends them all."""

from collections.abc import Iterator, Mapping
import contextlib
import importlib.metadata
import json
import socket
from typing import Any

import tensorflow as tf

from official_ext.mistakes import one_line
from official_ext.mistakes import raise_if_any
from official_ext.training import coordination
from official_ext.training import worker_watch
from official_ext.training.cluster import Cluster
from official_ext.training.cluster import read_cluster
from official_ext.training.stop_agreement import StopAgreement

# How long the watch may take to find out whose loss an error comes from.
_WATCH_SECONDS = 25.0
_READ_SECONDS = 5.0
# What a worker that is gone, or was started again, makes of an operation that
# takes all of them.
_ERRORS_OF_OTHERS = (
    tf.errors.UnavailableError, tf.errors.AbortedError,
    tf.errors.CancelledError, tf.errors.InternalError,
    tf.errors.DeadlineExceededError)
_ABORTED = 'Collective ops is aborted'
_PACKAGES = ('tensorflow', 'tf-keras', 'tf-models-official', 'numpy')


class WorkerLostError(RuntimeError):
  """Another worker is gone; the same command on all of them goes on.

  Attributes:
    exit_code: of a command that ends with it.
  """

  exit_code = worker_watch.WORKER_LOST_EXIT_CODE


class Workers:
  """The processes that train one model together, as one of them sees them.

  Without a cluster this process is alone, and everything here is trivial. All
  workers have to make the same calls in the same order.

  Args:
    cluster: the workers; None if this process is alone.

  Attributes:
    is_chief: whether this process writes the run directory.
  """

  def __init__(self, cluster: Cluster | None = None):
    self._cluster = cluster
    self.is_chief = cluster is None or cluster.index == 0
    self._comparisons = 0
    self._agreement = None

  def check_same(self, facts: Mapping[str, Any]) -> None:
    """Makes sure that all workers are about to do the same.

    Args:
      facts: JSON values by name.

    Raises:
      ValueError: some worker has others; lists what differs, on all workers
        that differ and on the chief.
    """
    if self._cluster is None:
      return
    self._comparisons += 1
    key = f'facts/{self._comparisons}'
    if self.is_chief:
      coordination.publish(key, json.dumps(facts))
      others = range(1, len(self._cluster.addresses))
      raise_if_any(
          line for index in others
          for line in json.loads(self._wait(f'{key}/{index}')))
      return
    found = self._differences(json.loads(self._wait(key)),
                              json.loads(json.dumps(facts)))
    coordination.publish(f'{key}/{self._cluster.index}', json.dumps(found))
    raise_if_any(found)

  @contextlib.contextmanager
  def chief_first(self) -> Iterator[None]:
    """The others enter it once the chief has left it."""
    if self._cluster is None:
      yield
      return
    self._comparisons += 1
    key = f'chief/{self._comparisons}'
    if not self.is_chief:
      self._wait(key)
    yield
    if self.is_chief:
      coordination.publish(key, 'done')

  def stop_now(self, is_requested: bool) -> bool:
    """Whether all workers stop here; call it at the same moments on all of them.

    Args:
      is_requested: whether this worker was told to stop.
    """
    if self._agreement is None:
      return is_requested
    return self._agreement.stop_now(is_requested)

  def stopped(self, is_requested: bool) -> bool:
    """Whether `stop_now` said so; alone, whether it would."""
    if self._agreement is None:
      return is_requested
    return self._agreement.is_over

  def start_agreeing(self) -> None:
    """Call it once the strategy is built, before the first `stop_now`."""
    if self._cluster is not None:
      self._agreement = StopAgreement(
          self._cluster.index, len(self._cluster.addresses))
      self._agreement.start()

  def part(self) -> None:
    """Waits until all workers are through, so that none is missed too early."""
    if self._cluster is None:
      return
    if self._agreement is not None:
      self._agreement.end()
    try:
      coordination.publish(f'through/{self._cluster.index}', 'done')
      for index in range(len(self._cluster.addresses)):
        self._wait(f'through/{index}')
    except tf.errors.OpError:
      # Worker 0, which has the texts, was the first to know that all are through.
      return

  def _differences(self, chief: Mapping[str, Any], own: Mapping[str, Any]
                   ) -> list[str]:
    names = [self._cluster.name(index) for index in (0, self._cluster.index)]
    return [
        f'{name} is {chief.get(name)!r} in {names[0]}, but {own.get(name)!r} in '
        f'{names[1]}; start all workers alike'
        for name in sorted(chief.keys() | own.keys())
        if chief.get(name) != own.get(name)]

  def _wait(self, key: str) -> str:
    while True:
      # In short pieces, so that Ctrl-C gets through.
      text = coordination.read(key, _READ_SECONDS)
      if text is not None:
        return text


@contextlib.contextmanager
def join(strategy: str) -> Iterator[Workers]:
  """Takes part in a run with the workers that `TF_CONFIG` names, if it does.

  Enter it before the strategy is built. Within it the loss of another worker
  ends this one, with one line and the exit code of `WorkerLostError`.

  Args:
    strategy: of the configuration; only 'multi_worker' has other workers.

  Raises:
    ConfigurationError: a ValueError; `TF_CONFIG` has mistakes.
    ValueError: another process listens at this worker's own address.
    WorkerLostError: another worker is gone.
  """
  cluster = read_cluster() if strategy == 'multi_worker' else None
  workers = Workers(cluster)
  if cluster is None:
    yield workers
    return
  _check_port(cluster)
  watch = worker_watch.WorkerWatch(cluster)
  watch.start()
  try:
    yield workers
    workers.part()
  except BaseException as error:
    failed = _failed_operation(error)
    line = failed and watch.wait_for_loss(_WATCH_SECONDS)
    if not line and _ABORTED in str(failed):
      line = worker_watch.lost_message(
          'another worker failed or was started again', one_line(failed))
    if not line:
      if workers.stopped(False):
        # The chief may still be writing the last checkpoint.
        workers.part()
      watch.stop()
      raise
    worker_watch.leave_without_waiting()
    # The watch goes on, and ends a process that hangs.
    raise WorkerLostError(line) from error
  watch.stop()


def _failed_operation(error: BaseException | None) -> Exception | None:
  """What of an error, or of what it was raised from, others may have caused."""
  while error is not None and not isinstance(error, _ERRORS_OF_OTHERS):
    error = error.__cause__ or error.__context__
  return error


def software() -> dict[str, str]:
  """The versions that have to be the same on all workers."""
  return {f'version of {name}': importlib.metadata.version(name)
          for name in _PACKAGES}


def _check_port(cluster: Cluster) -> None:
  """TensorFlow's server shares its port silently, with an earlier run's too."""
  host, _, port = cluster.addresses[cluster.index].rpartition(':')
  try:
    with socket.create_connection((host.strip('[]'), int(port)), timeout=2.0):
      pass
  except OSError:
    return
  raise ValueError(
      f'another process listens at {cluster.addresses[cluster.index]}, the '
      f'address of {cluster.name(cluster.index)}; end it (an earlier start of '
      'this worker?) or give another port.')
