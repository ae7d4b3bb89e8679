"""The precision that models are built in."""

from collections.abc import Iterator
import contextlib

import tf_keras


@contextlib.contextmanager
def computing_in(policy: str) -> Iterator[None]:
  """Models that are built inside compute in this precision.

  Args:
    policy: name of a Keras policy, such as 'float32' or 'mixed_bfloat16'.
  """
  before = tf_keras.mixed_precision.global_policy()
  tf_keras.mixed_precision.set_global_policy(policy)
  try:
    yield
  finally:
    tf_keras.mixed_precision.set_global_policy(before)
