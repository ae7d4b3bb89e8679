"""A gin file that somebody else wrote cannot make anything happen."""

import builtins
import os
import sys

import gin
import pytest

from official_ext import configuration
from official_ext import gin_bindings
from official_ext import gin_source
from official_ext import gin_statements
from official_ext.configuration import load_architecture
from official_ext.configuration import load_config
from official_ext.mistakes import ConfigurationError


@pytest.fixture(name='folder', autouse=True)
def fixture_folder(tmp_path, monkeypatch):
  """The working directory, which holds nothing else."""
  folder = tmp_path / 'here'
  folder.mkdir()
  monkeypatch.chdir(folder)
  return folder


def mistakes_of(*lines, files=('experiments/quickstart.gin',), params=()):
  """What is wrong with a file of these lines."""
  with open('own.gin', 'w', encoding='utf-8') as file:
    file.write('\n'.join(lines) + '\n')
  with pytest.raises(ConfigurationError) as caught:
    load_config([*files, 'own.gin'], params, require_directories=False)
  assert not any('\n' in line for line in caught.value.mistakes)
  return list(caught.value.mistakes)


@pytest.mark.parametrize('statement, module', [
    ('import os', 'os'),
    ('import this', 'this'),
    ('import antigravity as official_ext', 'antigravity'),
    ('from os import system', 'os.system'),
    ('from official_ext import train', 'official_ext.train'),
    ('import official_ext.prepare', 'official_ext.prepare'),
    ('import official_ext_of_mine', 'official_ext_of_mine'),
    # Would make everything in Python configurable.
    ('from __gin__ import dynamic_registration', '__gin__.dynamic_registration'),
])
def test_imports_are_refused_and_not_carried_out(statement, module, monkeypatch):
  loaded = set(sys.modules)
  import_module = builtins.__import__

  def watched(name, *arguments, **keywords):
    assert name not in ('this', 'antigravity', 'official_ext.prepare')
    return import_module(name, *arguments, **keywords)

  monkeypatch.setattr(builtins, '__import__', watched)
  assert mistakes_of('# From elsewhere.', statement) == [
      f'own.gin:2: import {module} is not allowed; all that a gin file can '
      'configure is there without an import, drop the line']
  assert not {'this', 'antigravity', 'official_ext.prepare'} & (
      set(sys.modules) - loaded)


@pytest.mark.parametrize('module', sorted(configuration.IMPORTABLE))
def test_what_may_be_imported_is_there_without_it(module):
  assert module in sys.modules
  assert 'official_ext.train' not in configuration.IMPORTABLE
  with open('own.gin', 'w', encoding='utf-8') as file:
    file.write(f'import {module}\n')
  load_config(['experiments/quickstart.gin', 'own.gin'], require_directories=False)


def test_a_target_is_read_under_the_same_rules():
  with open('own.gin', 'w', encoding='utf-8') as file:
    file.write("import os\ninclude 'models/bert_nano.gin'\n")
  with pytest.raises(ConfigurationError, match='own.gin:1: import os is not'):
    load_architecture(['own.gin'])


class TestReferences:

  @pytest.mark.parametrize('name', [
      'eval', 'os.system', 'gin.macro', 'gin.singleton', 'builtins.exec',
      'somebody.elses_function'])
  def test_only_the_configurables_can_be_called(self, name):
    called = []
    if name.startswith('somebody'):
      gin.external_configurable(
          lambda: called.append(1), name='elses_function', module='somebody')
    (line,) = mistakes_of(f'train.seed = @{name}()')
    assert line.startswith(f"own.gin:1: train.seed: there is no '@{name}()'")
    assert not called

  @pytest.mark.parametrize('value', ['[1, {2: (@eval(),)}]', '@a/b/eval()'])
  def test_however_deep_they_hide(self, value):
    lines = mistakes_of(f'train.seed = {value}')
    assert lines[0].startswith('own.gin:1: train.seed: there is no ')

  def test_in_what_is_not_used_or_overridden_too(self):
    lines = mistakes_of(
        'mslt.joint_fraction = @eval()', 'train.seed = @exec()', 'train.seed = 1',
        'x/stage.depth = %HARMLESS', 'HARMLESS = @compile()')
    assert [line.split('; known')[0] for line in lines] == [
        "own.gin:1: mslt.joint_fraction: there is no '@eval()'",
        "own.gin:2: train.seed: there is no '@exec()'",
        "own.gin:5: HARMLESS: there is no '@compile()'"]

  @pytest.mark.parametrize('setting', [
      "gin.singleton.constructor = @stack", "gin.macro.value = 3",
      "x/gin.macro.value = 3", "gin.constant.value = 3"])
  def test_gins_own_functions_cannot_be_configured(self, setting):
    name = setting.split()[0].rpartition('.')[0].removeprefix('x/')
    line = mistakes_of(setting)[0]
    assert line.startswith(f'own.gin:1: nothing called {name!r} can be configured')


class TestIncludes:

  def test_not_outside_of_what_the_user_named(self, tmp_path):
    (tmp_path / 'secret.gin').write_text('train.seed = 5\n')
    for path in (tmp_path / 'secret.gin', '../secret.gin'):
      assert mistakes_of(f"include '{path}'") == [
          f"own.gin:1: include '{path}' is outside of the folders of the files "
          'that you named; if you trust it, name it yourself with --gin_file']

  def test_not_through_a_link(self, tmp_path, folder):
    (tmp_path / 'secret.gin').write_text('train.seed = 5\n')
    (folder / 'link.gin').symlink_to(tmp_path / 'secret.gin')
    (line,) = mistakes_of("include 'link.gin'")
    assert "include 'link.gin' is outside of" in line

  def test_only_gin_files(self, folder):
    (folder / 'password').write_text('secret\n')
    assert mistakes_of("include 'password'") == [
        "own.gin:1: include 'password' is no gin file; only *.gin can be included"]

  def test_not_from_a_bucket_that_the_user_did_not_name(self):
    (line,) = mistakes_of("include 'gs://somebody/else.gin'")
    assert "include 'gs://somebody/else.gin' is outside of" in line

  def test_beside_what_the_user_named(self, tmp_path):
    other = tmp_path / 'other'
    (other / 'parts').mkdir(parents=True)
    (other / 'parts/seed.gin').write_text('train.seed = 5\n')
    (other / 'run.gin').write_text(
        "include 'experiments/quickstart.gin'\n"
        f"include '{other}/parts/seed.gin'\n")
    config, _ = load_config([str(other / 'run.gin')], require_directories=False)
    assert config.seed == 5

  def test_beside_what_the_user_named_in_a_bucket(self):
    files = {'gs://b/runs/run.gin': "include 'gs://b/runs/parts/x.gin'\n"
                                    "include 'gs://b/runs/../y.gin'\n",
             'gs://b/runs/parts/x.gin': 'train.seed = 5\n'}
    source = gin_source.read_source(
        ['gs://b/runs/run.gin'], [], read_text=files.__getitem__)
    assert [binding.value for binding in source.bindings] == [5]
    (line,) = source.mistakes
    assert line.startswith("gs://b/runs/run.gin:2: include 'gs://b/runs/../y.gin'")

  def test_the_user_may_include_anything(self, tmp_path):
    (tmp_path / 'mine').write_text('train.seed = 5\n')
    config, _ = load_config(
        ['experiments/quickstart.gin'], [f"include '{tmp_path}/mine'"],
        require_directories=False)
    assert config.seed == 5

  def test_doubling_files(self, folder):
    for number in range(30):
      (folder / f'{number}.gin').write_text(
          f"include '{number + 1}.gin'\n" * 2)
    (folder / '30.gin').write_text('')
    lines = mistakes_of("include '0.gin'")
    assert lines[0] == (
        f"29.gin:1: include '30.gin' is one of more than {gin_source.MAX_FILES} "
        'files; drop includes')


class TestSizes:

  def test_a_file_that_is_too_large(self):
    lines = mistakes_of('#' * gin_source.MAX_FILE_CHARACTERS)
    assert lines[0].startswith(
        f'own.gin:1: longer than {gin_source.MAX_FILE_CHARACTERS} characters, '
        'the most that a configuration has')

  @pytest.mark.parametrize('depth', [gin_statements.MAX_BRACKETS + 1, 900, 20_000])
  def test_too_many_brackets(self, depth):
    (line,) = mistakes_of(f'train.seed = {"[" * depth}{"]" * depth}')
    assert line.startswith('own.gin:1: ')
    assert line.endswith('more than 50 brackets within each other')

  def test_macros_that_double(self):
    # 2**40 ones, if they were written out.
    lines = mistakes_of(
        'train.seed = %M0',
        *(f'M{i} = [%M{i + 1}, %M{i + 1}]' for i in range(18)), 'M18 = 1')
    assert any(line.endswith(
        f'is one of more than {gin_bindings.MAX_REFERENCES} references and '
        f'macros, or {gin_bindings.MAX_CHAIN} within each other; write values '
        'out') for line in lines)

  def test_a_long_chain_of_macros(self):
    lines = mistakes_of(
        'train.seed = %M0', *(f'M{i} = %M{i + 1}' for i in range(2000)),
        'M2000 = 1')
    assert any('or 20 within each other' in line for line in lines)

  @pytest.mark.parametrize('value', [
      '{[1]: 2}', '1' * 5000, '1e999', "'\\ud800'", '0' * 2000 + '1', "b'x'",
      '1j', '...', '"\\x00"', "__import__('os')", 'os.system("true")',
      'eval("1")', 'lambda: 1', 'f"{1}"', '[x for x in (1,)]'])
  def test_values_that_are_none(self, value):
    lines = mistakes_of(f'train.seed = {value}')
    assert all(line.startswith('own.gin:1: ') for line in lines)
    assert 'train.seed' in ' '.join(lines)

  @pytest.mark.parametrize('text, shown', [
      ('\0', r'\x00'), ('\x1b[2J', r'\x1b[2J'), ('\x9b2J', r'\x9b2J'),
      ('\u202egnp.exe', r'\u202egnp.exe')])
  def test_what_a_terminal_would_obey_is_not_printed(self, text, shown):
    lines = mistakes_of('train.seed = 1', text)
    assert lines == [
        f'own.gin:2: {shown}: not a setting; write name.parameter = value']

  def test_a_long_statement_is_cut(self):
    (line,) = mistakes_of(f'train.seed = [{"a" * 10_000}')
    assert line.startswith('own.gin:1: train.seed = [aaaa')
    assert len(line) < 450


def test_nothing_is_written_beside_the_file(folder):
  mistakes_of('import os', 'train.seed = @eval()')
  assert os.listdir(folder) == ['own.gin']
