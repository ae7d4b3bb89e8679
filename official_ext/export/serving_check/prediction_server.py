"""A stand-in for TensorFlow Serving: PredictionService on loopback.

  python prediction_server.py VERSION_DIR [option=value ...]

Run by its path, it imports tensorflow, tensorflow_text, tensorflow-serving-api
and gRPC, and nothing else of third parties. It runs the warm-up requests of the
SavedModel, prints its port and answers Predict until its standard input ends.
Concurrent requests are batched by TensorFlow itself, as TensorFlow Serving
batches them: the op behind `tf.nondifferentiable_batch_function` is its
scheduler.
"""

from concurrent import futures
import os
import sys
import threading

import grpc
import tensorflow as tf
import tensorflow_text  # pylint: disable=unused-import
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

_OPTIONS = dict(max_batch_size=4, batch_timeout_micros=1000,
                num_batch_threads=2, num_request_threads=32,
                intra_op_threads=1)
_WARMUP_FILE = 'assets.extra/tf_serving_warmup_requests'


class PredictionService(
    prediction_service_pb2_grpc.PredictionServiceServicer):
  """Predict, over the signatures of one SavedModel."""

  def __init__(self, version_dir: str, *, max_batch_size: int,
               batch_timeout_micros: int, num_batch_threads: int):
    self._model = tf.saved_model.load(version_dir)
    self._batch = dict(
        num_batch_threads=num_batch_threads, max_batch_size=max_batch_size,
        batch_timeout_micros=batch_timeout_micros, max_enqueued_batches=1000)
    self._functions = {}
    self._lock = threading.Lock()

  def Predict(self, request, context):  # pylint: disable=invalid-name
    """Answers one request, as prediction_service.proto says."""
    name = request.model_spec.signature_name or 'serving_default'
    if name not in self._model.signatures:
      context.abort(grpc.StatusCode.INVALID_ARGUMENT, f'no signature {name}')
    signature = self._model.signatures[name]
    expected = signature.structured_input_signature[1].keys()
    if request.inputs.keys() != expected:
      context.abort(
          grpc.StatusCode.INVALID_ARGUMENT,
          f'inputs {sorted(request.inputs)}, where {name} has {sorted(expected)}')
    outputs_there = signature.structured_outputs.keys()
    wanted = tuple(sorted(request.output_filter or outputs_there))
    if not outputs_there >= set(wanted):
      context.abort(
          grpc.StatusCode.INVALID_ARGUMENT,
          f'outputs {list(wanted)}, where {name} has {sorted(outputs_there)}')
    inputs = {key: tf.constant(tf.make_ndarray(value))
              for key, value in request.inputs.items()}
    try:
      outputs = self._function(name, wanted)(
          *(inputs[key] for key in sorted(inputs)))
    except (tf.errors.OpError, TypeError, ValueError) as error:
      context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    response = predict_pb2.PredictResponse()
    response.model_spec.CopyFrom(request.model_spec)
    for key, value in zip(wanted, outputs):
      response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
    return response

  def _function(self, name, wanted):
    """A signature's outputs, batched with those of other requests."""
    with self._lock:
      if (name, wanted) not in self._functions:
        signature = self._model.signatures[name]
        specs = signature.structured_input_signature[1]

        @tf.nondifferentiable_batch_function(**self._batch)
        def batched(*values):
          outputs = signature(**dict(zip(sorted(specs), values)))
          return tuple(outputs[key] for key in wanted)
        # Traced once here, not by whichever request comes first.
        function = tf.function(batched).get_concrete_function(
            *(specs[key] for key in sorted(specs)))
        self._functions[name, wanted] = function
      return self._functions[name, wanted]

  def warm_up(self, path: str) -> None:
    """Runs the requests of a TFRecord of PredictionLog."""
    for record in tf.data.TFRecordDataset(path):
      log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
      self.Predict(log.predict_log.request, None)


def main(version_dir: str, *settings: str) -> None:
  options = _OPTIONS | {
      name: int(value) for name, value in (each.split('=') for each in settings)}
  tf.config.threading.set_intra_op_parallelism_threads(
      options.pop('intra_op_threads'))
  server = grpc.server(futures.ThreadPoolExecutor(
      options.pop('num_request_threads')))
  service = PredictionService(version_dir, **options)
  prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
      service, server)
  service.warm_up(os.path.join(version_dir, _WARMUP_FILE))
  port = server.add_insecure_port('localhost:0')
  server.start()
  strangers = {name.split('.')[0] for name in sys.modules} & {
      'official', 'official_ext', 'tensorflow_models', 'tf_keras', 'torch'}
  assert not strangers, strangers
  print(f'port {port}', flush=True)
  sys.stdin.read()
  server.stop(grace=1).wait()


if __name__ == '__main__':
  main(*sys.argv[1:])
