"""A TensorFlow server, as each host of a TPU slice of several hosts runs one.

The program on worker 0 connects to the servers of all hosts, its own among them
(`TPUClusterResolver(tpu=NAME)`), and drives their TPUs. They answer everybody
who can reach the port, so it must be closed to the world.
"""

import socket
import sys

# Where TPUClusterResolver looks for them.
PORT = 8470


def main(port: int) -> None:
  """Serves until the process is ended."""
  with socket.socket() as probe:
    if probe.connect_ex(('localhost', port)) == 0:
      print(f'port {port} is taken: the image of this TPU VM brings a server of '
            'its own, which has to be of the same TensorFlow version')
      return
  import tensorflow as tf
  server = tf.distribute.Server(
      {'worker': [f'localhost:{port}']}, job_name='worker', task_index=0)
  print(f'TensorFlow {tf.__version__} serves at {server.target}', flush=True)
  server.join()


if __name__ == '__main__':
  main(int(sys.argv[1]) if len(sys.argv) > 1 else PORT)
