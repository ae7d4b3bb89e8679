"""Requests that TensorFlow Serving runs before it takes any from outside."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from official_ext.export.needed_ops import read_meta_graph

WARMUP_FILE = os.path.join('assets.extra', 'tf_serving_warmup_requests')


def write_requests(
    version_dir: str, requests: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
  """Writes a TFRecord of `PredictionLog` beside a SavedModel.

  Args:
    version_dir: of a SavedModel, which is read for the types of its inputs.
    requests: signature to requests: input to JSON value.
  """
  types = input_types(version_dir)
  path = os.path.join(version_dir, WARMUP_FILE)
  tf.io.gfile.makedirs(os.path.dirname(path))
  with tf.io.TFRecordWriter(path) as writer:
    for signature, of_signature in requests.items():
      for request in of_signature:
        log = prediction_log_pb2.PredictionLog()
        predict = log.predict_log.request
        # A server puts the name of its model in.
        predict.model_spec.signature_name = signature
        for name, value in request.items():
          predict.inputs[name].CopyFrom(tf.make_tensor_proto(
              value, dtype=types[signature][name]))
        writer.write(log.SerializeToString())


def input_types(version_dir: str) -> dict[str, dict[str, tf.DType]]:
  """Signature to input to type, of a SavedModel."""
  signatures = read_meta_graph(version_dir).signature_def
  return {name: {key: tf.as_dtype(info.dtype)
                 for key, info in signature.inputs.items()}
          for name, signature in signatures.items()
          if not name.startswith('__')}
