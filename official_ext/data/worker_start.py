"""What the fork server imports before it forks workers. Not for other use."""

import os

from official_ext.command import quieten
from official_ext.data import chunks  # pylint: disable=unused-import
from official_ext.data import partial_tensorflow
from official_ext.data import shards  # pylint: disable=unused-import

# Workers tokenise; an accelerator's memory is for others.
os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
quieten()
partial_tensorflow.load()
