"""What the fork server imports before it forks workers. Not for other use."""

from official_ext.command import quieten
from official_ext.data import chunks  # pylint: disable=unused-import
from official_ext.data import partial_tensorflow
from official_ext.data import shards  # pylint: disable=unused-import

quieten()
partial_tensorflow.load()
