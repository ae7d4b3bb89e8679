"""Every test file has a Bazel target: what the BUILD files make is worked out."""

import pathlib
import types

import pytest

# Under Bazel this file is a link to the one in the repository.
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_FOLDERS = sorted({path.parent for path in _ROOT.glob('tests/**/*_test.py')})


def _macro(folder: pathlib.Path, targets: dict) -> dict:
  """The names that tests/pytest.bzl defines; Starlark is a part of Python."""
  def glob(patterns, exclude=(), allow_empty=False):
    del allow_empty
    names = {path.name for pattern in patterns for path in folder.glob(pattern)}
    for pattern in exclude:
      names -= {path.name for path in folder.glob(pattern)}
    return sorted(names)

  native = types.SimpleNamespace(
      glob=glob,
      package_name=lambda: folder.relative_to(_ROOT).as_posix(),
      py_library=lambda **rule: targets.update({rule['name']: rule}),
      py_test=lambda **rule: targets.update({rule['name']: rule}))
  names = {'native': native}
  exec((_ROOT / 'tests/pytest.bzl').read_text(), names)
  return names


def _targets(folder: pathlib.Path) -> dict:
  targets = {}
  names = _macro(folder, targets)
  exec((folder / 'BUILD').read_text(),
       names | {'load': lambda *_: None, 'exports_files': lambda *_, **__: None})
  return targets


@pytest.mark.parametrize(
    'folder', _FOLDERS, ids=lambda path: path.relative_to(_ROOT).as_posix())
def test_every_test_file_has_a_target(folder):
  assert (folder / 'BUILD').is_file(), (
      f'{folder}/BUILD is missing; copy the one of tests/growth.')
  sources = [target['srcs'][0] for target in _targets(folder).values()
             if 'main' in target]
  assert sources == sorted(path.name for path in folder.glob('*_test.py'))


@pytest.mark.parametrize(
    'folder', _FOLDERS, ids=lambda path: path.relative_to(_ROOT).as_posix())
def test_a_target_runs_its_own_file(folder):
  for name, target in _targets(folder).items():
    if name != 'helpers':
      path = f'{folder.relative_to(_ROOT).as_posix()}/{target["srcs"][0]}'
      assert target['args'] == [path]
      assert (_ROOT / path).stem == name


def test_helpers_of_every_room_are_dependencies():
  names = _macro(_ROOT / 'tests', {})
  rooms = sorted(build.parent.name for build in _ROOT.glob('tests/*/BUILD'))
  assert names['_ROOMS'] == rooms


def test_all_test_files_are_below_tests():
  stray = [path for folder in ('official_ext', 'gin_configs', 'tools',
                               'benchmarks', 'tpu_scripts', 'docs')
           for path in (_ROOT / folder).rglob('*_test.py')]
  assert not stray


def test_stubs_are_where_workspace_looks_for_them():
  paths = []
  exec((_ROOT / 'WORKSPACE').read_text(), {
      'workspace': lambda name: None,
      'local_repository': lambda name, path: paths.append((name, path))})
  assert len(paths) == 4
  for name, path in paths:
    assert f'"{name}"' in (_ROOT / path / 'WORKSPACE').read_text()
  assert 'third_party' in (_ROOT / '.bazelignore').read_text().split()
