"""The one adapter to TensorFlow's coordination service between workers.

`MultiWorkerMirroredStrategy` runs it, and Python has no public name for its
settings, nor for its store of texts;
`tf.distribute.experimental.PreemptionCheckpointHandler` uses the same calls.
"""

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

_PREFIX = 'official_ext/'
# A worker that ended is noticed by `worker_watch` long before; this is for one
# that is there but hangs.
_HEARTBEAT_TIMEOUT_SECONDS = 40.0


def configure(cluster: tf.train.ClusterSpec) -> None:
  """Sets the service up; call it before the strategy is built.

  TensorFlow's own 10 seconds without a sign, 5 for an answer, are too few for a
  busy machine: workers that only shared two cores with other programs were
  taken for dead.
  """
  jobs = [
      coordination_config_pb2.CoordinatedJob(
          name=job, num_tasks=cluster.num_tasks(job))
      for job in ('chief', 'worker') if job in cluster.jobs]
  context.context().configure_coordination_service(
      service_type='standalone',
      service_leader=f'/job:{jobs[0].name}/replica:0/task:0',
      heartbeat_timeout_in_ms=int(_HEARTBEAT_TIMEOUT_SECONDS * 1000),
      coordinated_jobs=jobs)


def publish(key: str, text: str) -> bool:
  """Sets a text for all workers to read; False if somebody has already.

  Raises:
    tf.errors.OpError: the service, which worker 0 runs, is gone.
  """
  try:
    context.context().set_config_key_value(_PREFIX + key, text)
  except tf.errors.AlreadyExistsError:
    return False
  return True


def read(key: str, timeout_seconds: float) -> str | None:
  """A text that some worker set; None if nobody does before the timeout.

  Raises:
    tf.errors.OpError: the service is gone, or a worker that it looks after.
  """
  try:
    return context.context().get_config_key_value(
        _PREFIX + key, int(timeout_seconds * 1000))
  except tf.errors.DeadlineExceededError:
    return None
