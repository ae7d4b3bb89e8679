"""The one adapter to TensorFlow's coordination service between workers.

`MultiWorkerMirroredStrategy` runs it, and Python has no public name for its
store of texts; `tf.distribute.experimental.PreemptionCheckpointHandler` uses
the same calls.
"""

import tensorflow as tf
from tensorflow.python.eager import context

_PREFIX = 'official_ext/'


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
