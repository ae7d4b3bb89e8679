"""What the fork server imports before it forks workers. Not for other use."""

import os

from official_ext.command import quieten

quieten()
# Workers build no model, and importing Keras 3 with what it pulls in takes a
# third of TensorFlow's own import.
os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')

from official_ext.data import tokenizer  # pylint: disable=unused-import,wrong-import-position
