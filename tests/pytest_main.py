"""Runs pytest on the file that a Bazel target names; see pytest.bzl."""

import os
import sys

import pytest

_NO_TESTS_COLLECTED = 5


def main() -> int:
  # Bazel starts a test in the root of its copy of the repository.
  arguments = ['-c', 'pyproject.toml', '--rootdir', '.', '-p', 'no:cacheprovider']
  if 'XML_OUTPUT_FILE' in os.environ:
    arguments += ['--junitxml', os.environ['XML_OUTPUT_FILE']]
  if 'TEST_TMPDIR' in os.environ:  # The home folder is read-only under Bazel.
    os.environ.setdefault('MPLCONFIGDIR', os.environ['TEST_TMPDIR'])
  exit_code = pytest.main(arguments + sys.argv[1:])
  # A file whose tests are all marked slow is none of Bazel's business.
  return 0 if exit_code == _NO_TESTS_COLLECTED else exit_code


if __name__ == '__main__':
  sys.exit(main())
