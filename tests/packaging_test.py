"""What the wheel holds, and what the lock promises."""

import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

# Under Bazel this file is a link to the one in the repository.
_ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def wheel_names(tmp_path_factory) -> set[str]:
  """Paths in a wheel that is built from a copy, as setuptools writes beside it."""
  source = tmp_path_factory.mktemp('source')
  files = [*_ROOT.glob('official_ext/**/*'), *_ROOT.glob('gin_configs/**/*'),
           *(_ROOT / name for name in ('pyproject.toml', 'README.md', 'LICENSE'))]
  for path in files:
    if path.is_file() and '__pycache__' not in path.parts:
      copy = source / path.relative_to(_ROOT)
      copy.parent.mkdir(parents=True, exist_ok=True)
      copy.write_bytes(path.read_bytes())
  done = subprocess.run(
      [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-index',
       '--no-build-isolation', '--wheel-dir', str(source / 'dist'), '.'],
      cwd=source, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  (wheel,) = (source / 'dist').glob('*.whl')
  assert wheel.name.startswith('official_ext-')
  return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_all_code_and_data(wheel_names):
  expected = {
      path.relative_to(_ROOT).as_posix()
      for pattern in ('official_ext/**/*.py', 'official_ext/**/*.jinja',
                      'gin_configs/**/*.py', 'gin_configs/**/*.gin')
      for path in _ROOT.glob(pattern)}
  assert any(name.endswith('.jinja') for name in expected)
  assert any(name.endswith('.gin') for name in expected)
  held = {name for name in wheel_names if '.dist-info/' not in name}
  assert held == expected


def test_the_wheel_holds_the_licence(wheel_names):
  assert any(name.endswith('.dist-info/licenses/LICENSE') for name in wheel_names)


def test_the_lock_pins_everything_with_hashes():
  lock = (_ROOT / 'requirements.lock').read_text()
  entries = re.split(r'\n(?=\S)', lock.strip())
  for entry in entries:
    assert re.match(r'[a-z0-9-]+(\[[a-z, ]+\])?==[\w.]+( ; .+)? \\\n', entry), entry[:60]
    assert '--hash=sha256:' in entry
  assert not re.search(r'https?:|file:|index-url|find-links', lock)


def test_the_lock_holds_every_dependency_of_the_project():
  project = tomllib.loads((_ROOT / 'pyproject.toml').read_text())['project']
  locked = set(re.findall(
      r'^([a-z0-9-]+)==', (_ROOT / 'requirements.lock').read_text(), re.M))
  extras = project['optional-dependencies']
  assert extras['test'][0] == 'official-ext[beam,tpu-preflight]'
  wanted = (project['dependencies'] + extras['test'][1:] + extras['beam']
            + extras['tpu-preflight'])
  names = {re.match(r'[\w-]+', line).group() for line in wanted}
  assert names <= locked
