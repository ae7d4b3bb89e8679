"""The few parts of TensorFlow that a worker needs, without the rest.

`import tensorflow` takes four seconds of processor time, mostly for modules
that tokenising never calls (Keras, SciPy, pandas, ...); for a corpus of some
megabytes that is longer than the work. Here `tensorflow` and
`tensorflow_text` become packages whose own `__init__` has not run, so that
their submodules can be imported one by one: about one second.

Only for processes of our own that do nothing else (workers); everywhere else
the real packages are imported, and the functions below use those.
"""

import importlib.util
import os
import sys
import types
from typing import Sequence

_PACKAGES = ('tensorflow', 'tensorflow_text', 'tensorflow_text.python',
             'tensorflow_text.python.ops')


def load() -> bool:
  """Prepares this process; nothing happens if TensorFlow is imported already.

  Returns:
    Whether the partial packages are in use. If they cannot be (another release
    with other submodules), the whole of TensorFlow is imported instead.
  """
  if 'tensorflow' in sys.modules:
    return not hasattr(sys.modules['tensorflow'], '__version__')
  before = set(sys.modules)
  try:
    for name in _PACKAGES:
      spec = importlib.util.find_spec(name)
      package = types.ModuleType(name)
      package.__path__ = list(spec.submodule_search_locations)
      package.__spec__ = spec
      package.__file__ = spec.origin
      sys.modules[name] = package
    from tensorflow.python.framework import ops
    ops.enable_eager_execution()
    _import_parts()
    return True
  except (ImportError, AttributeError):
    for name in set(sys.modules) - before:
      if name.split('.')[0] in ('tensorflow', 'tensorflow_text'):
        del sys.modules[name]
    # Tokenising builds no model, and Keras 3 pulls in much.
    os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')
    import tensorflow  # pylint: disable=unused-import
    _import_parts()
    return False


def _import_parts():
  """The submodules in question; the same classes as the public names."""
  from tensorflow.python.framework import constant_op
  from tensorflow.python.framework import dtypes
  from tensorflow.python.lib.io import tf_record
  from tensorflow_text.python.ops import fast_bert_tokenizer
  return constant_op, dtypes, tf_record, fast_bert_tokenizer


def use_one_thread() -> None:
  """For workers, of which there are as many as cores."""
  from tensorflow.python.eager import context
  context.context().intra_op_parallelism_threads = 1
  context.context().inter_op_parallelism_threads = 1


def fast_bert_tokenizer(vocabulary: Sequence[str], lower_case: bool):
  """The one place where a `tensorflow_text.FastBertTokenizer` is built.

  Args:
    vocabulary: the pieces, in the order of their ids.
    lower_case: whether to lower-case and strip accents.
  """
  _, dtypes, _, module = _import_parts()
  return module.FastBertTokenizer(
      list(vocabulary), token_out_type=dtypes.int32,
      lower_case_nfd_strip_accents=lower_case)


def string_vector(texts: Sequence[bytes]):
  """A string tensor [len(texts)], which may be empty."""
  constant_op, dtypes, _, _ = _import_parts()
  return constant_op.constant(list(texts), dtypes.string, shape=[len(texts)])


def record_writer(path: str):
  """A `tf.io.TFRecordWriter`."""
  return _import_parts()[2].TFRecordWriter(path)


def record_reader(path: str):
  """Reads the record at a byte offset: `read(offset) -> (record, its end)`."""
  return _import_parts()[2].tf_record_random_reader(path)


def data_loss_error() -> type[Exception]:
  """`tf.errors.DataLossError`."""
  from tensorflow.python.framework import errors
  return errors.DataLossError
