"""Serves a SavedModel as a server would: tensorflow and tensorflow_text only.

Arguments: version directory, JSON file of texts, JSON file of ids, npz to write.
"""

import json
import sys

import numpy as np
import tensorflow as tf
import tensorflow_text  # pylint: disable=unused-import

version_dir, texts_file, ids_file, outputs_file = sys.argv[1:]
with open(texts_file, encoding='utf-8') as file:
  texts = tf.constant(json.load(file))
with open(ids_file, encoding='utf-8') as file:
  ids = {name: tf.constant(rows, tf.int32)
         for name, rows in json.load(file).items()}
signatures = tf.saved_model.load(version_dir).signatures
outputs = {
    'serving_default': signatures['serving_default'](text=texts),
    'token_ids': signatures['token_ids'](**ids),
    'embed': signatures['embed'](text=texts),
}
strangers = {name.split('.')[0] for name in sys.modules} & {
    'official', 'official_ext', 'tensorflow_models', 'tf_keras'}
assert not strangers, strangers
# npz files hold strings of fixed width only.
np.savez(outputs_file, **{
    f'{signature}/{name}': (value.numpy().astype('S')
                            if value.dtype == tf.string else value.numpy())
    for signature, values in outputs.items() for name, value in values.items()})
