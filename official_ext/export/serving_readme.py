"""The README.md beside a SavedModel: its signatures, and how to call them."""

from collections.abc import Callable, Mapping, Sequence
import inspect
import json
import os
from typing import Any

import tensorflow as tf

from official_ext.export import needed_ops
from official_ext.export.warmup import input_types
from official_ext.export.warmup import WARMUP_FILE

README_FILE = 'README.md'
_HEAD = """# SavedModel

Loading it needs `tensorflow` {version} or later{text}. The batch is of any size. The
examples call it through TensorFlow Serving's REST interface, as a model named `model`, and in Python, from this
directory. `{warmup}` holds requests that a server warms up with.
"""
_SIGNATURE = """
## {name}

```
{doc}
```

```sh
curl -s http://localhost:8501/v1/models/model:predict -d '{body}'
```

```python
import tensorflow as tf
{text_import}
signature = tf.saved_model.load('.').signatures[{name!r}]
print(signature(
{arguments}))
```
"""
_OPS = """
## Ops

A server has to know these. TF Text's: {text}. TensorFlow's own:

{rows}
"""


def write(version_dir: str, signatures: Mapping[str, Callable[..., Any]],
          requests: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
  """Writes README.md into the directory of a SavedModel.

  Args:
    version_dir: of a SavedModel.
    signatures: name to the `tf.function` that was saved.
    requests: name to requests, see `example_requests`; the first is shown.
  """
  meta_graph = needed_ops.read_meta_graph(version_dir)
  types = input_types(version_dir)
  ops = {name: needed_ops.needed_ops(meta_graph, name) for name in signatures}
  text_ops = {op for of_one in ops.values() for op in of_one
              } & needed_ops.TEXT_OPS
  parts = [_HEAD.format(
      version='.'.join(tf.__version__.split('.')[:2]), warmup=WARMUP_FILE,
      text=' and `tensorflow_text`'
      if text_ops else '')]
  for name, function in signatures.items():
    request = requests[name][0]
    parts.append(_SIGNATURE.format(
        name=name, doc=inspect.getdoc(function.python_function),
        body=_shell_quoted(json.dumps(
            {'signature_name': name, 'inputs': request})),
        text_import='import tensorflow_text  # registers ops\n'
        if text_ops else '',
        arguments=',\n'.join(
            f'    {key}=tf.constant({value!r}, tf.{types[name][key].name})'
            for key, value in request.items())))
  rows = '\n'.join(
      f'- `{name}`: {", ".join(op for op in of_one if op not in text_ops)}'
      for name, of_one in ops.items())
  parts.append(_OPS.format(
      text=', '.join(sorted(text_ops)) or 'none', rows=rows))
  path = os.path.join(version_dir, README_FILE)
  with tf.io.gfile.GFile(path, 'w') as file:
    file.write(''.join(parts))


def _shell_quoted(text: str) -> str:
  """What stands between single quotes."""
  return text.replace("'", "'\\''")
