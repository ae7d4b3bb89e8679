"""Imports between the rooms point down, and other rules of the house."""

import ast
import pathlib
import re
import sys

import pytest

# Under Bazel this file is a link to the one in the repository.
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / 'official_ext'

# From the ground up: a room may import itself and what stands before it.
_ORDER = (
    'mistakes', 'command',  # How a mistake is told, and a command's shell.
    'growth', 'modeling', 'data', 'schedules', 'training', 'analysis',
    'downstream', 'export')
# Rooms that know less than all that stands before them; CONTRIBUTING.md says so.
_KNOWS_ONLY = {'modeling': {'growth'}, 'data': set(), 'schedules': {'growth'}}
_SHELL = {'mistakes', 'command'}
_SOURCES = sorted(_PACKAGE.rglob('*.py'))
_PURE = {'growth': {'numpy'}, 'schedules': set()}
# Private attributes of Model Garden's and Keras's objects: one adapter for the
# weights, one for dropout's state, one for gradients, and what no public name
# offers.
_MAY_REACH_PRIVATES = {
    'modeling/weights.py', 'modeling/dropout_state.py',
    'modeling/custom_gradients.py', 'data/workers.py',
    'training/progressive_growth.py', 'configuration.py'}
_STANDARD_PRIVATES = {'_replace', '_asdict', '_fields', '_exit'}


def _room(path: pathlib.Path) -> str:
  return path.relative_to(_PACKAGE).with_suffix('').parts[0]


def _imports(path: pathlib.Path, tree: ast.AST | None = None) -> set[str]:
  """Full dotted names of everything that the file imports, at any depth."""
  names = set()
  for node in ast.walk(tree or ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import; write the full name.'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def _imported_rooms(path: pathlib.Path) -> set[str]:
  return {name.split('.')[1] for name in _imports(path)
          if name.startswith('official_ext.')}


def _by_name(path: pathlib.Path) -> str:
  return path.relative_to(_PACKAGE).as_posix()


# The commands, and the configuration that they share, may import every room.
@pytest.mark.parametrize(
    'path', [path for path in _SOURCES if _room(path) in _ORDER], ids=_by_name)
def test_imports_point_down(path):
  room = _room(path)
  below = set(_ORDER[:_ORDER.index(room)])
  assert _imported_rooms(path) <= _KNOWS_ONLY.get(room, below) | _SHELL & below | {
      room}


def test_every_folder_is_a_known_room():
  folders = {path.parent.name for path in _PACKAGE.glob('*/__init__.py')}
  assert folders <= set(_ORDER)


@pytest.mark.parametrize('room', sorted(_PURE))
def test_a_pure_room_imports_only(room):
  third_parties = set()
  for path in (_PACKAGE / room).rglob('*.py'):
    third_parties |= {name.split('.')[0] for name in _imports(path)}
  third_parties -= {'official_ext', *sys.stdlib_module_names}
  assert third_parties <= _PURE[room]


def test_growth_reads_no_files_and_no_flags():
  names = set()
  for path in (_PACKAGE / 'growth').rglob('*.py'):
    names |= {name.split('.')[0] for name in _imports(path)}
    assert not re.search(r'\bopen\(', path.read_text()), path
  assert not names & {'absl', 'argparse', 'gin', 'io', 'os', 'pathlib', 'shutil'}


def _private_reaches(path: pathlib.Path) -> list[str]:
  """Private attributes that are taken from something else than self."""
  reaches = []
  for node in ast.walk(ast.parse(path.read_text())):
    if (isinstance(node, ast.Attribute) and re.match(r'_[a-z]', node.attr)
        and node.attr not in _STANDARD_PRIVATES):
      owner = node.value
      is_own = (
          isinstance(owner, ast.Name) and owner.id in ('self', 'cls', 'other')
          or isinstance(owner, ast.Call) and ast.unparse(owner) == 'super()')
      if not is_own:
        reaches.append(f'line {node.lineno}: {ast.unparse(node)}')
  return reaches


@pytest.mark.parametrize('path', _SOURCES, ids=_by_name)
def test_privates_of_others_are_reached_in_the_adapters_only(path):
  if _by_name(path) not in _MAY_REACH_PRIVATES:
    assert not _private_reaches(path)


@pytest.mark.parametrize('path', _SOURCES, ids=_by_name)
def test_keras_2_is_meant(path):
  source = path.read_text()
  assert not re.search(r'\btf\.keras\.|tensorflow\.keras|import keras\b', source), (
      'Model Garden is built on Keras 2; write tf_keras.')


def test_names_that_say_nothing_are_not_used():
  names = {path.stem for path in _SOURCES}
  assert not names & {'utils', 'util', 'common', 'helpers', 'misc'}


def test_nothing_is_left_to_do():
  marker = 'TO' + 'DO'
  left = [path for folder in ('official_ext', 'gin_configs', 'tests', 'tools',
                              'benchmarks', 'tpu_scripts', 'docs')
          for path in (_ROOT / folder).rglob('*')
          if path.is_file() and path.suffix in
          {'.py', '.gin', '.sh', '.md', '.bzl', '.jinja'}
          and re.search(rf'\b{marker}\b|\bFIXME\b', path.read_text())]
  assert not left


@pytest.mark.parametrize('path', _SOURCES, ids=_by_name)
def test_a_file_holds_one_idea(path):
  assert len(path.read_text().splitlines()) <= 400
