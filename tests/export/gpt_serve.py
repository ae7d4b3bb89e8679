"""Serves a GPT's SavedModel as a server would: tensorflow, tensorflow_text only.

Arguments: version directory, JSON file of calls, JSON file to write. A call is
[signature, {input: value}].
"""

import json
import sys

import tensorflow as tf
import tensorflow_text  # pylint: disable=unused-import

version_dir, calls_file, answers_file = sys.argv[1:]
with open(calls_file, encoding='utf-8') as file:
  calls = json.load(file)
signatures = tf.saved_model.load(version_dir).signatures


def plain(value):
  if isinstance(value, list):
    return [plain(part) for part in value]
  return value.decode() if isinstance(value, bytes) else value


answers = []
for name, inputs in calls:
  outputs = signatures[name](
      **{key: tf.constant(value) for key, value in inputs.items()})
  answers.append({key: plain(value.numpy().tolist())
                  for key, value in outputs.items()})
strangers = {name.split('.')[0] for name in sys.modules} & {
    'official', 'official_ext', 'tensorflow_models', 'tf_keras'}
assert not strangers, strangers
with open(answers_file, 'w', encoding='utf-8') as file:
  json.dump(answers, file)
