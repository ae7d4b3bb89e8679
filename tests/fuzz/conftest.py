"""Says after the tests how many cases they were, and how many failed.

    python -m pytest tests/fuzz --hypothesis-profile=soak

With `OFFICIAL_EXT_FUZZ_REPORT=FILE` the figures also go to a file, as JSON.
"""

import json
import os
import pathlib

import pytest

from tests.fuzz.cases import NUM_CASES

_PROPERTY = 'fuzz_cases'
# By the name of the test, in the process that prints.
_REPORTED: dict[str, int] = {}
_FAILED: set[str] = set()


@pytest.fixture(autouse=True)
def fixture_cases(request, record_property):
  """Hands the count of a test to its report, which comes from any worker."""
  yield
  num_cases = NUM_CASES.pop(request.function.__name__, 0)
  if num_cases:
    record_property(_PROPERTY, num_cases)


def pytest_runtest_logreport(report):
  """Collects the counts, which come with the last report of each test."""
  name = report.nodeid.rpartition('::')[2]
  _REPORTED.update(
      {name: count for key, count in report.user_properties if key == _PROPERTY})
  if report.failed:
    _FAILED.add(name)


def pytest_terminal_summary(terminalreporter):
  """Prints the sums, and writes them down where that is asked for."""
  if not _REPORTED:
    return
  terminalreporter.write_line(
      f'fuzz: {sum(_REPORTED.values()):,} cases of {len(_REPORTED)} properties, '
      f'{len(_FAILED)} failures')
  path = os.environ.get('OFFICIAL_EXT_FUZZ_REPORT')
  if path:
    pathlib.Path(path).write_text(json.dumps(
        {'cases': _REPORTED, 'failed': sorted(_FAILED)}, indent=2))
