"""Lets all workers stop after the same step when one of them is told to."""

from collections.abc import Callable
import threading

import tensorflow as tf

from official_ext.training import coordination

_READ_SECONDS = 5.0


class StopAgreement:
  """All workers ask the same questions in the same order; they agree on a yes.

  Saving a checkpoint takes all workers, at the same step, but the signal that
  ends a run comes to one of them, at any moment. That worker publishes it. A
  thread of every worker sees this, stops its program at its next question, and
  publishes the number of that question. The greatest number is that of a step
  that some worker may be in the middle of, which takes the others to finish; so
  there all of them stop. Nothing is added to a step, and none waits for the
  network.

  Args:
    index: which worker this is.
    num_workers: how many there are.
    publish: see `coordination.publish`.
    read: see `coordination.read`.

  Attributes:
    is_over: whether all have stopped.
  """

  def __init__(self, index: int, num_workers: int, *,
               publish: Callable[[str, str], bool] = coordination.publish,
               read: Callable[[str, float], str | None] = coordination.read):
    self._index = index
    self._num_workers = num_workers
    self._publish = publish
    self._read = read
    self._condition = threading.Condition()
    self._question = 1
    self.is_over = False
    self._is_frozen = self._is_published = False
    self._last = self._error = None
    self._should_end = threading.Event()
    self._thread = threading.Thread(
        target=self._agree, name='stop_agreement', daemon=True)

  def start(self) -> None:
    """Call it before the first question."""
    self._thread.start()

  def end(self) -> None:
    """Call it when there will be no more questions."""
    self._should_end.set()

  def stop_now(self, is_requested: bool) -> bool:
    """The question: whether all workers stop here.

    Args:
      is_requested: whether this worker was told to stop.

    Raises:
      tf.errors.OpError: a worker is gone that did not agree.
    """
    if is_requested and not self._is_published:
      self._is_published = True
      self._publish('stop', str(self._index))
    with self._condition:
      self._condition.wait_for(
          lambda: self._last is not None or self._error or not self._is_frozen)
      if self._error and self._is_frozen:
        raise self._error
      if self._last == self._question:
        self.is_over = True
      self._question += 1
    return self.is_over

  def _agree(self) -> None:
    try:
      if self._wait('stop') is None:
        return
      with self._condition:
        self._is_frozen = True
        question = self._question
      self._publish(f'stop/{self._index}', str(question))
      questions = [self._wait(f'stop/{index}')
                   for index in range(self._num_workers)]
    except tf.errors.OpError as error:
      # A worker is gone, or stands still. Who watches the workers cannot know the
      # latter, and the program may be waiting for this thread.
      with self._condition:
        self._error = error
        self._condition.notify_all()
      return
    if None in questions:
      return
    with self._condition:
      self._last = max(map(int, questions))
      self._condition.notify_all()

  def _wait(self, key: str) -> str | None:
    while not self._should_end.is_set():
      text = self._read(key, _READ_SECONDS)
      if text is not None:
        return text
    return None
