"""The same PredictionService over `transformers` on CPU torch.

  python huggingface_server.py MODEL_DIR [option=value ...]

Answers `embed` with `pooled_output`, the mean over the tokens, as the SavedModel
of a model without a next-sentence head does. Concurrent requests are batched
too, by a queue, and padded to the longest of a batch, as `transformers` does.
TensorFlow is imported for the messages that carry tensors; torch does the work.
"""

from concurrent import futures
import os
import queue
import sys
import threading
import time

os.environ.setdefault('CUDA_VISIBLE_DEVICES', '')
# pylint: disable=g-import-not-at-top
import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
import torch
import transformers

_OPTIONS = dict(max_batch_size=4, batch_timeout_micros=1000,
                num_batch_threads=2, num_request_threads=32, torch_threads=1,
                max_length=512)


class Embedder:
  """Texts to vectors, [batch, hidden]."""

  def __init__(self, model_dir: str, max_length: int):
    self._tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    self._model = transformers.AutoModel.from_pretrained(model_dir).eval()
    self._max_length = max_length
    # `transformers`' fast tokenizers keep how to pad in themselves.
    self._lock = threading.Lock()

  def __call__(self, texts: list[str]) -> np.ndarray:
    with self._lock:
      inputs = self._tokenizer(
          texts, padding=True, truncation=True, max_length=self._max_length,
          return_tensors='pt')
    with torch.inference_mode():
      hidden = self._model(**inputs).last_hidden_state
      weight = inputs['attention_mask'].unsqueeze(-1).to(hidden.dtype)
      return ((hidden * weight).sum(1) / weight.sum(1)).numpy()


class PredictionService(
    prediction_service_pb2_grpc.PredictionServiceServicer):
  """Predict, one text a request, batched by a queue."""

  def __init__(self, embedder: Embedder, *, max_batch_size: int,
               batch_timeout_micros: int, num_batch_threads: int):
    self._embedder = embedder
    self._max_batch_size = max_batch_size
    self._timeout_seconds = batch_timeout_micros * 1e-6
    self._queue = queue.SimpleQueue()
    for _ in range(num_batch_threads):
      threading.Thread(target=self._work, daemon=True).start()

  def _work(self):
    while True:
      waiting = [self._queue.get()]
      end = time.monotonic() + self._timeout_seconds
      while len(waiting) < self._max_batch_size:
        try:
          waiting.append(self._queue.get(
              timeout=max(0.0, end - time.monotonic())))
        except queue.Empty:
          break
      try:
        rows = self._embedder([text for text, _ in waiting])
        for row, (_, future) in zip(rows, waiting):
          future.set_result(row)
      except Exception as error:  # pylint: disable=broad-except
        for _, future in waiting:
          future.set_exception(error)

  def Predict(self, request, context):  # pylint: disable=invalid-name
    """Answers one request, as prediction_service.proto says."""
    del context
    future = futures.Future()
    text = request.inputs['text'].string_val[0].decode('utf-8', 'replace')
    self._queue.put((text, future))
    row = future.result()
    response = predict_pb2.PredictResponse()
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_FLOAT, tensor_content=row.tobytes())
    for size in (1, row.size):
      tensor.tensor_shape.dim.add(size=size)
    response.outputs['pooled_output'].CopyFrom(tensor)
    return response


def main(model_dir: str, *settings: str) -> None:
  options = _OPTIONS | {
      name: int(value) for name, value in (each.split('=') for each in settings)}
  torch.set_num_threads(options.pop('torch_threads'))
  embedder = Embedder(model_dir, options.pop('max_length'))
  server = grpc.server(futures.ThreadPoolExecutor(
      options.pop('num_request_threads')))
  prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
      PredictionService(embedder, **options), server)
  for length in (1, 16, 64, 256, 600):
    embedder(['the ' * length] * 2)
  port = server.add_insecure_port('localhost:0')
  server.start()
  print(f'port {port}', flush=True)
  sys.stdin.read()
  server.stop(grace=1).wait()


if __name__ == '__main__':
  main(*sys.argv[1:])
