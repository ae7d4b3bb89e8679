"""Files and a checkpoint that the tests of this room share."""

import pytest

from tests.downstream import samples


@pytest.fixture(scope='session')
def glue_dir(tmp_path_factory):
  """A folder with all of GLUE's tasks."""
  return samples.write_glue(str(tmp_path_factory.mktemp('glue')))


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
  """A tiny BERT with its vocabulary."""
  return samples.write_checkpoint(str(tmp_path_factory.mktemp('bert')))
