"""What SECURITY.md says is not in the code is not in the code."""

import ast
import pathlib
import re

import pytest

# Under Bazel this file is a link to the one in the repository.
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PYTHON = sorted(path for folder in ('official_ext', 'gin_configs', 'tools',
                                     'tpu_scripts', 'benchmarks')
                 for path in (_ROOT / folder).rglob('*.py'))
_SHELL = sorted(path for folder in ('tools', 'tpu_scripts', '.ci')
                for path in (_ROOT / folder).rglob('*')
                if path.is_file() and path.read_bytes().startswith(
                    (b'#!/usr/bin/env bash', b'# shellcheck shell=bash')))

# Modules that turn bytes into objects by running what the bytes say.
_MODULES = {'pickle', 'cPickle', '_pickle', 'marshal', 'shelve', 'dill',
            'cloudpickle', 'joblib', 'jsonpickle', 'yaml', 'code', 'pty'}
_FUNCTIONS = {
    'eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen',
    'subprocess.getoutput', 'subprocess.getstatusoutput', 'tempfile.mktemp',
    'torch.load', 'tf_keras.models.load_model', 'tf.keras.models.load_model',
    'tf_keras.config.enable_unsafe_deserialization', 'runpy.run_path'}
# Arguments, and the values that are harmless.
_ARGUMENTS = {'shell': (False,), 'allow_pickle': (False,), 'weights_only': (True,),
              'autoescape': (True,), 'safe_mode': (True,), 'verify': (True,)}


def find_dangers(source: str) -> list[str]:
  """A line for each thing that SECURITY.md excludes."""
  found = []
  for node in ast.walk(ast.parse(source)):
    names = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    found += [f'line {node.lineno}: import {name}' for name in names
              if name.split('.')[0] in _MODULES or name in _FUNCTIONS]
    if not isinstance(node, ast.Call):
      continue
    called = ast.unparse(node.func)
    if called in _FUNCTIONS or (
        called.endswith('import_module') and not _is_fixed(node.args[0])):
      found.append(f'line {node.lineno}: {called}')
    for keyword in node.keywords:
      if keyword.arg in _ARGUMENTS and not (
          isinstance(keyword.value, ast.Constant)
          and keyword.value.value in _ARGUMENTS[keyword.arg]):
        found.append(
            f'line {node.lineno}: {keyword.arg}={ast.unparse(keyword.value)}')
  return found


def _is_fixed(module: ast.expr) -> bool:
  """Whether it is a name, or one of our own modules."""
  if isinstance(module, ast.JoinedStr):
    first = ast.unparse(module.values[0])
    return first.startswith(("'official_ext.", '{__name__}'))
  return isinstance(module, (ast.Constant, ast.Name))


def _name(path):
  return path.relative_to(_ROOT).as_posix()


@pytest.mark.parametrize('path', _PYTHON, ids=_name)
def test_no_python_file_runs_what_it_reads(path):
  assert not find_dangers(path.read_text())


@pytest.mark.parametrize('source', [
    'import pickle', 'from marshal import loads', 'from os import system',
    'import yaml as y', 'def f():\n  import dill', 'x = eval("1")', 'exec(y)',
    'import os; os.system("ls")', '__import__("os")', 'compile(x, "", "exec")',
    'subprocess.run("ls", shell=True)', 'subprocess.run(x, shell=wanted)',
    'np.load(path, allow_pickle=True)', 'torch.load(path)',
    'jinja2.Environment(autoescape=False)', 'importlib.import_module(a + b)'])
def test_the_search_finds(source):
  assert len(find_dangers(source)) == 1


@pytest.mark.parametrize('source', [
    'import ast; ast.literal_eval(x)', 'model.compile()', 'model.eval()',
    'subprocess.run(["ls"], shell=False)', 'np.load(path, allow_pickle=False)',
    're.compile("x")', 'importlib.import_module(name)'])
def test_the_search_lets_pass(source):
  assert not find_dangers(source)


@pytest.mark.parametrize('path', _SHELL, ids=_name)
def test_no_shell_script_parses_a_text_again(path):
  # Comments and the texts of --help may speak of it.
  code = re.sub(r"<<'HELP'\n.*?\nHELP\n", '\n', path.read_text(), flags=re.S)
  lines = [line for line in code.splitlines() if not line.strip().startswith('#')]
  for line in lines:
    assert not re.search(r'(^|[\s;|&(`])(eval|source <)\s', line), line
    assert not re.search(r'\b(ba|z|da)?sh\s+-\w*c\b', line), line


def test_what_runs_on_a_host_is_a_fixed_text():
  commands = [
      (path, line.partition('on_hosts ')[2] or line) for path in (_ROOT / 'tpu_scripts').glob('*.sh')
      for line in path.read_text().splitlines()
      if re.match(r'\s*(elif |if )?(.*&& )?.*\bon_hosts (0|all) ', line)
      or 'readonly question=' in line]
  assert len(commands) >= 8
  for path, line in commands:
    inserted = set(re.findall(r'\$\{?(\w+)', line))
    assert inserted <= {'host_folder', 'question'}, (path.name, line)
  settings = (_ROOT / 'tpu_scripts/settings.sh').read_text()
  assert re.search(r'^readonly host_folder=\w+$', settings, re.M)


def test_what_opens_web_pages_escapes_what_is_put_in():
  environments = [
      (path, node) for path in _PYTHON
      for node in ast.walk(ast.parse(path.read_text()))
      if isinstance(node, ast.Call)
      and ast.unparse(node.func).endswith('Environment')
      and 'jinja2' in path.read_text()]
  assert environments
  for path, node in environments:
    assert any(keyword.arg == 'autoescape' for keyword in node.keywords), path
