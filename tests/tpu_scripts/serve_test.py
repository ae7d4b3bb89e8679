"""The servers of a slice: one program drives those of two hosts, on loopback."""

import contextlib
import socket
import subprocess
import sys

import pytest

from tests.tpu_scripts.fake_cloud import SCRIPTS

# What a coordinator does before it looks for TPUs: training/strategy.py.
_COORDINATOR = '''
import sys
import tensorflow as tf
resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=sys.argv[1])
tf.config.experimental_connect_to_cluster(resolver)
for task in range(2):
  with tf.device(f'/job:worker/replica:0/task:{task}/device:CPU:0'):
    total = tf.reduce_sum(tf.range(task + 4))
  print(total.device, int(total))
'''


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return probe.getsockname()[1]


@pytest.mark.slow
def test_a_program_reaches_the_server_of_every_host():
  ports = [_free_port(), _free_port()]
  with contextlib.ExitStack() as stack:
    for port in ports:
      server = stack.enter_context(subprocess.Popen(
          [sys.executable, str(SCRIPTS / 'on_host/serve.py'), str(port)],
          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
      stack.callback(server.kill)
      assert f'serves at grpc://localhost:{port}' in server.stdout.readline()
    done = subprocess.run(
        [sys.executable, '-c', _COORDINATOR,
         ','.join(f'grpc://localhost:{port}' for port in ports)],
        capture_output=True, text=True, check=False, timeout=300)
  assert done.returncode == 0, done.stderr[-3000:]
  assert done.stdout.splitlines() == [
      f'/job:worker/replica:0/task:{task}/device:CPU:0 {total}'
      for task, total in enumerate((6, 10))]


def test_a_port_that_is_taken_is_left_to_its_owner():
  with socket.create_server(('localhost', 0)) as owner:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / 'on_host/serve.py'),
         str(owner.getsockname()[1])], capture_output=True, text=True, check=False)
  assert done.returncode == 0
  assert 'the image of this TPU VM brings a server of its own' in done.stdout
