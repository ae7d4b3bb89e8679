"""What CONTRIBUTING.md shows is done in a copy of the package, and works."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

# Under Bazel this file is a link to the one in the repository.
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_TABLE = 'official_ext/growth/depths/__init__.py'
_FORMULAS = 'tests/growth/rule_formulas.py'


@pytest.fixture(name='copy')
def fixture_copy(tmp_path):
  """The room of growth and its tests, alone."""
  for name in ('official_ext/growth', 'tests/growth'):
    shutil.copytree(_ROOT / name, tmp_path / name,
                    ignore=shutil.ignore_patterns('__pycache__'))
  for name in ('official_ext/__init__.py', 'tests/conftest.py', 'pyproject.toml'):
    shutil.copy(_ROOT / name, tmp_path / name)
  return tmp_path


def _section():
  text = (_ROOT / 'CONTRIBUTING.md').read_text()
  return re.search(r'## Adding an operator\n(.*?)\n## ', text, re.DOTALL)[1]


def _blocks(language):
  return re.findall(rf'```{language}\n(.*?)```', _section(), re.DOTALL)


def _added(diff):
  return [line[1:] for line in diff.splitlines() if line.startswith('+')]


def _insert(path, line, after):
  """Puts a line behind the last one that begins with `after`."""
  text = path.read_text()
  place = text.index('\n', text.rindex(f'\n{after}') + 1)
  path.write_text(f'{text[:place]}\n{line}{text[place:]}')


def _write_the_rule(copy):
  (source,) = _blocks('python')
  (path,) = re.findall(r'The file, `([\w/.]+)`', _section())
  assert not (_ROOT / path).exists(), 'The example is of a rule not shipped.'
  (copy / path).write_text(source)
  row_diff, _ = _blocks('diff')
  import_line, row = _added(row_diff)
  _insert(copy / _TABLE, import_line, 'from ')
  _insert(copy / _TABLE, row, "    '")


def _write_its_formula(copy):
  _, formula_diff = _blocks('diff')
  (row,) = _added(formula_diff)
  _insert(copy / _FORMULAS, row, "    'middle'")


def _run(copy, *arguments):
  return subprocess.run(
      [sys.executable, '-m', 'pytest', '-v', '-p', 'no:cacheprovider',
       'tests/growth/rules_test.py', *arguments],
      cwd=copy, capture_output=True, text=True)


def test_the_worked_example_passes_the_tests_of_every_row(copy):
  _write_the_rule(copy)
  _write_its_formula(copy)
  result = _run(copy, '-k', 'mirror or has_a_formula')
  assert result.returncode == 0, result.stdout
  for test in ('keeps_what_any_has_to', 'follows_its_formula',
               'both_at_once_are_width_then_depth'):
    assert re.search(rf'{test}\[.*mirror.*PASSED', result.stdout), test


def test_a_rule_without_a_formula_is_found(copy):
  _write_the_rule(copy)
  result = _run(copy, '-k', 'has_a_formula')
  assert result.returncode == 1, result.stdout
  assert "'mirror', 'bert'" in result.stdout


def test_a_rule_that_claims_too_much_is_found(copy):
  _write_the_rule(copy)
  path = copy / 'official_ext/growth/depths/mirror.py'
  path.write_text(path.read_text().replace(
      "(an example)')", "(an example)', preserving_families=('gpt',))"))
  result = _run(copy, '-k', 'depth_rule_keeps and mirror')
  assert result.returncode == 1, result.stdout
  assert '[mirror-gpt]' in result.stdout and 'ParityReport' in result.stdout


def test_the_tables_and_the_command_are_where_the_section_says():
  for path in re.findall(r'`(growth/[\w/.]+\.py)`', _section()):
    assert (_ROOT / 'official_ext' / path).is_file(), path
  for path in re.findall(r'(tests/[\w/.]+\.py)', _section()):
    assert (_ROOT / path).is_file(), path
