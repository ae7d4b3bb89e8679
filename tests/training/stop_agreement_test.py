"""All workers stop at the same question, whoever was told to and whenever."""

import random
import threading
import time

import pytest
import tensorflow as tf

from official_ext.training.stop_agreement import StopAgreement


class Store:
  """A store of texts as TensorFlow's coordination service has it."""

  def __init__(self):
    self._texts = {}
    self._condition = threading.Condition()

  def publish(self, key, text):
    with self._condition:
      if key in self._texts:
        return False
      self._texts[key] = text
      self._condition.notify_all()
      return True

  def read(self, key, timeout_seconds):
    with self._condition:
      self._condition.wait_for(
          lambda: key in self._texts, min(timeout_seconds, 0.05))
      return self._texts.get(key)


def run(num_workers, num_steps, told, rng):
  """Workers whose every step needs all of them.

  Args:
    told: worker -> step after which it is told to stop.

  Returns:
    For each worker the step after which it stopped; None if it did not.
  """
  store, stopped = Store(), [None] * num_workers
  step_of_all = threading.Barrier(num_workers, timeout=20)
  naps = [[rng.random() * 0.004 for _ in range(num_steps)]
          for _ in range(num_workers)]

  def work(index):
    agreement = StopAgreement(
        index, num_workers, publish=store.publish, read=store.read)
    agreement.start()
    for step in range(num_steps):
      time.sleep(naps[index][step])
      step_of_all.wait()
      if agreement.stop_now(step >= told.get(index, num_steps)):
        stopped[index] = step
        break
    assert agreement.is_over == (stopped[index] is not None)
    agreement.end()

  threads = [threading.Thread(target=work, args=(index,), daemon=True)
             for index in range(num_workers)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(timeout=30)
    assert not thread.is_alive(), 'the workers wait for each other'
  return stopped


@pytest.mark.parametrize('case', range(8))
def test_all_stop_after_one_step(case):
  rng = random.Random(case)
  num_workers = rng.choice([2, 3, 5])
  told = {worker: rng.randrange(20) for worker in range(num_workers)
          if worker == 0 or rng.random() < 0.3}
  stopped = run(num_workers, 200, told, rng)
  assert len(set(stopped)) == 1
  first = min(told.values())
  # Publishing takes a few steps of a few milliseconds, not more.
  assert stopped[0] is not None and first <= stopped[0] <= first + 100


def test_a_worker_that_stands_still_is_told_and_not_waited_for():
  # The others' question is never read: the service gives up.
  def read(key, timeout_seconds):
    if key == 'stop':
      return '0'
    raise tf.errors.UnavailableError(None, None, 'worker 1 does not answer')

  agreement = StopAgreement(0, 2, publish=lambda key, text: True, read=read)
  agreement.start()
  with pytest.raises(tf.errors.UnavailableError, match='worker 1'):
    for _ in range(1000):
      agreement.stop_now(True)
      time.sleep(0.01)


def test_nobody_stops_unasked():
  assert run(3, 20, {}, random.Random(0)) == [None] * 3


def test_a_wish_that_comes_too_late_changes_nothing():
  stopped = run(2, 3, {1: 2}, random.Random(0))
  # The last step may still be agreed on, but then by all.
  assert stopped in ([None, None], [2, 2])
