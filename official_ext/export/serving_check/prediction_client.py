"""A server in a process of its own, and many requests to it at a time."""

from collections.abc import Mapping, Sequence
from concurrent import futures
import contextlib
import dataclasses
import os
import subprocess
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from official_ext.mistakes import one_line

_TIMEOUT_SECONDS = 600
# A response may hold the vectors of every token.
_MAX_MESSAGE_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Answers:
  """What a server answered.

  Attributes:
    outputs: of each request, output to array.
    latencies: seconds from each request to its answer, float64 [requests].
    seconds: from the first request to the last answer.
  """

  outputs: list[dict[str, np.ndarray]]
  latencies: np.ndarray
  seconds: float

  @property
  def requests_per_second(self) -> float:
    return len(self.outputs) / self.seconds

  def percentile(self, share: float) -> float:
    """Milliseconds within which a share of the answers, in percent, came."""
    return 1e3 * float(np.percentile(self.latencies, share))


@contextlib.contextmanager
def running_server(python: str, server_file: str, *arguments: str):
  """Starts a server of this folder; yields a client's stub.

  Args:
    python: interpreter to run it with.
    server_file: the program.
    *arguments: its arguments.

  Raises:
    RuntimeError: it did not start.
  """
  # Nothing of this project can be imported by it.
  environment = {name: value for name, value in os.environ.items()
                 if name != 'PYTHONPATH'}
  with subprocess.Popen(
      [python, '-P', server_file, *arguments], stdin=subprocess.PIPE,
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd='/',
      env=environment) as process:
    try:
      # Read along, lest a full pipe stop the server.
      with futures.ThreadPoolExecutor(1) as reader:
        errors = reader.submit(process.stderr.read)
        line = process.stdout.readline()
        if not line.startswith('port '):
          process.kill()
          raise RuntimeError(
              f'{server_file} did not start: '
              f'{one_line(errors.result()[-400:])}')
        port = int(line.split()[1])
        with grpc.insecure_channel(f'localhost:{port}', options=[
            ('grpc.max_receive_message_length', _MAX_MESSAGE_BYTES)]) as channel:
          yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
        process.stdin.close()
        process.wait(timeout=60)
    finally:
      process.kill()


def ask(stub: prediction_service_pb2_grpc.PredictionServiceStub,
        requests: Sequence[Mapping[str, str]], *, signature: str,
        concurrency: int, outputs: Sequence[str] = ()) -> Answers:
  """Sends requests of one example each, some of them at a time.

  Args:
    stub: of a running server.
    requests: of each, input to string.
    signature: which one to call.
    concurrency: requests under way at any time.
    outputs: those that are wanted; all if empty.
  """
  messages = []
  for values in requests:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = 'model'
    message.model_spec.signature_name = signature
    message.output_filter.extend(outputs)
    for name, value in values.items():
      message.inputs[name].CopyFrom(tf.make_tensor_proto([value], tf.string))
    messages.append(message)

  def call(message):
    start = time.perf_counter()
    response = stub.Predict(message, timeout=_TIMEOUT_SECONDS)
    return response, time.perf_counter() - start
  with futures.ThreadPoolExecutor(concurrency) as clients:
    start = time.perf_counter()
    answered = list(clients.map(call, messages))
    seconds = time.perf_counter() - start
  return Answers(
      [{name: tf.make_ndarray(value)
        for name, value in response.outputs.items()}
       for response, _ in answered],
      np.array([latency for _, latency in answered]), seconds)
