"""Signals become a wish; the second one is an order."""

import os
import signal
import subprocess
import sys
import time

import pytest

from official_ext.command import STOPPED_EXIT_CODE
from official_ext.training.stop_signals import StopSignals

# The main thread never runs a Python instruction again, as in a long compile.
PROGRAM = '''
import ctypes, os
from official_ext.training.stop_signals import StopSignals
with StopSignals():
  print('listening', flush=True)
  while True:
    ctypes.CDLL(None).pause()
'''


@pytest.fixture(name='program')
def fixture_program():
  # Signals wake `pause`, so handlers run there; the thread must not need them.
  process = subprocess.Popen(
      [sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, text=True)
  assert process.stdout.readline() == 'listening\n'
  yield process
  process.kill()
  process.communicate()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_first_is_answered_and_second_ends_at_once(program, number):
  program.send_signal(number)
  assert program.stderr.readline() == '\n'
  assert program.stderr.readline() == (
      f'{number.name}: finishing this step, then saving and stopping; once more '
      'stops at once\n')
  assert program.poll() is None
  program.send_signal(number)
  assert program.wait(timeout=20) == 128 + number


def test_wish_is_noted_and_handlers_come_back(capfd):
  before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  with StopSignals() as signals:
    assert not signals.requested and signals.name == ''
    os.kill(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + 20
    while not signals.requested:
      assert time.monotonic() < deadline
      time.sleep(0.01)
    assert signals.name == 'SIGTERM'
  assert before == (
      signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
  assert 'SIGTERM: finishing this step' in capfd.readouterr().err


def test_exit_code_is_the_system_s_for_try_again():
  assert STOPPED_EXIT_CODE == os.EX_TEMPFAIL == 75
  done = subprocess.run(
      [sys.executable, '-m', 'official_ext.train', '--help'],
      capture_output=True, text=True, check=True)
  assert 'the exit code is 75' in ' '.join(done.stdout.split())
