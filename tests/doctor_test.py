"""The doctor, with each part of the machine broken in turn."""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from official_ext import doctor
from official_ext.doctor import BROKEN
from official_ext.doctor import examine
from official_ext.doctor import OK
from official_ext.doctor import Probes
from official_ext.doctor import table
from official_ext.doctor import WARN
from official_ext.mistakes import ConfigurationError

VERSIONS = {
    'tensorflow': '2.20.0', 'tf-models-official': '2.20.0',
    'tensorflow-text': '2.20.1', 'tf-keras': '2.20.1', 'gin-config': '0.5.0'}


def raises(error):
  def raise_it(*_):
    raise error
  return raise_it


def healthy(**changes):
  return dataclasses.replace(
      Probes(
          python_version=(3, 11, 7), environ={},
          package_version=VERSIONS.get, import_module=lambda name: None,
          devices=lambda: ['CPU 0'], is_tpu_host=lambda: False,
          layer_module=lambda: 'tf_keras.src.engine.base_layer',
          try_to_write=lambda directory: None,
          packaged_files=lambda: ['runs/pretrain.gin'],
          check_config=lambda files, params, tpu: None),
      **changes)


def failing_imports(**errors):
  def import_module(name):
    if name in errors:
      raise errors[name]
  return import_module


def the_bad(findings):
  return [finding for finding in findings if finding.status != OK]


def test_a_healthy_machine():
  findings = examine(healthy())
  assert [finding.subject for finding in findings] == [
      'python', 'tensorflow', 'tf-models-official', 'tensorflow-text', 'tf-keras',
      'gin-config', 'devices', 'TPU wheel', 'TPU preflight', 'Keras',
      'write access', 'gin search path']
  assert the_bad(findings) == []
  assert table(findings).endswith('0 broken, 0 to look at, of 12')


@pytest.mark.parametrize('changes, subject, status, found, mend', [
    ({'python_version': (3, 13, 0)}, 'python', BROKEN,
     '3.13.0, supported: 3.11 up to, not including, 3.13',
     'make the virtual environment anew with Python 3.11'),
    ({'package_version': {**VERSIONS, 'tensorflow': '2.19.1'}.get}, 'tensorflow',
     BROKEN, '2.19.1, supported: 2.20 up to, not including, 2.21',
     'pip install "tensorflow~=2.20.0"'),
    ({'package_version': {**VERSIONS, 'gin-config': None}.get}, 'gin-config',
     BROKEN, 'not installed', 'pip install "gin-config~=0.5.0"'),
    ({'package_version': {**VERSIONS, 'tf-keras': '2.21.0rc1'}.get}, 'tf-keras',
     BROKEN, '2.21.0rc1, supported: 2.20 up to, not including, 2.21',
     'pip install "tf-keras~=2.20.0"'),
    ({'import_module': failing_imports(
        tensorflow_text=ImportError('undefined symbol:\n _ZN'))},
     'tensorflow-text', BROKEN,
     '2.20.1, but `import tensorflow_text` fails: undefined symbol: _ZN',
     'pip install --force-reinstall tensorflow-text, or make the environment '
     'anew'),
    ({'devices': list}, 'devices', BROKEN, 'none', 'reinstall tensorflow'),
    ({'devices': raises(RuntimeError('driver'))}, 'devices', BROKEN,
     'cannot be listed: driver', 'check the driver of the accelerator'),
    ({'environ': {'CUDA_VISIBLE_DEVICES': ''}}, 'devices', WARN,
     "CPU 0; CUDA_VISIBLE_DEVICES='' hides GPUs",
     'unset CUDA_VISIBLE_DEVICES to use them'),
    ({'is_tpu_host': lambda: True}, 'TPU wheel', BROKEN,
     'plain tensorflow knows no TPU: "No OpKernel was registered to support Op '
     '\'ConfigureDistributedTPU\'"',
     'pip install "tensorflow-tpu~=2.20.0" libtpu, after all else'),
    ({'is_tpu_host': lambda: True,
      'package_version': {**VERSIONS, 'tensorflow-tpu': '2.18.0'}.get},
     'TPU wheel', BROKEN,
     'tensorflow-tpu 2.18.0, supported: 2.20 up to, not including, 2.21',
     'pip install "tensorflow-tpu~=2.20.0" libtpu, after all else'),
    ({'is_tpu_host': lambda: True,
      'package_version': {**VERSIONS, 'tensorflow-tpu': '2.20.0'}.get},
     'TPU wheel', BROKEN, 'tensorflow-tpu 2.20.0 without libtpu',
     'pip install "tensorflow-tpu~=2.20.0" libtpu, after all else'),
    ({'is_tpu_host': lambda: True, 'package_version': {
        **VERSIONS, 'tensorflow-tpu': '2.20.0', 'libtpu': '0.0.20'}.get},
     'TPU wheel', WARN,
     'tensorflow-tpu 2.20.0 beside plain tensorflow: of their files, those '
     'installed last are used',
     'pip install --force-reinstall --no-deps "tensorflow-tpu~=2.20.0"'),
    ({'layer_module': lambda: 'keras.src.layers.layer'}, 'Keras', BROKEN,
     "Model Garden's layers come from keras (Keras 3), not from tf_keras (Keras "
     '2): the two do not mix',
     'pip install "tf-keras~=2.20.0" "tf-models-official~=2.20.0"'),
    ({'layer_module': raises(AttributeError('no layers'))}, 'Keras', BROKEN,
     "Model Garden's layers fail: no layers", 'reinstall tf-models-official'),
    ({'packaged_files': list}, 'gin search path', BROKEN,
     f'{os.getcwd()}, then 0 packaged files',
     'reinstall official-ext, which ships the gin files'),
    ({'packaged_files': raises(ModuleNotFoundError("No module named 'gin_configs'"))},
     'gin search path', BROKEN,
     "gin_configs cannot be imported: No module named 'gin_configs'",
     'reinstall official-ext, which ships the gin files'),
])
def test_one_broken_part(changes, subject, status, found, mend):
  (finding,) = the_bad(examine(healthy(**changes)))
  assert dataclasses.astuple(finding) == (subject, status, found, mend)


def test_tensorflow_that_cannot_be_imported_is_named_and_hides_nothing():
  error = ImportError('libfoo.so: cannot open')
  findings = the_bad(examine(healthy(
      import_module=failing_imports(tensorflow=error),
      devices=raises(error), layer_module=raises(error),
      try_to_write=raises(OSError(13, 'Permission denied')))))
  assert [(finding.subject, finding.status) for finding in findings] == [
      ('tensorflow', BROKEN), ('devices', WARN), ('Keras', WARN),
      ('write access', BROKEN)]
  assert findings[0].found == (
      '2.20.0, but `import tensorflow` fails: libfoo.so: cannot open')
  assert findings[1].found == 'not examined: tensorflow cannot be imported'
  assert findings[3].found.endswith(': Permission denied')


def test_a_lost_pkg_resources_has_its_own_mend():
  error = ModuleNotFoundError("No module named 'pkg_resources'",
                              name='pkg_resources')
  findings = the_bad(examine(healthy(
      import_module=failing_imports(**{'official.nlp.modeling': error}))))
  assert findings[0].subject == 'tf-models-official'
  assert findings[0].mend == (
      'pip install "setuptools<81"; later ones have no pkg_resources')


def test_a_missing_dependency_is_named():
  error = ModuleNotFoundError("No module named 'sacrebleu'", name='sacrebleu')
  findings = the_bad(examine(healthy(
      import_module=failing_imports(**{'official.nlp.modeling': error}))))
  assert findings[0].mend == (
      'pip install sacrebleu, or make the environment from the lock')


def test_the_tpu_wheel_is_a_tensorflow():
  versions = {**VERSIONS, 'tensorflow-tpu': '2.20.0', 'libtpu': '0.0.20'}
  del versions['tensorflow']
  findings = examine(healthy(package_version=versions.get), tpu='my-tpu')
  assert the_bad(findings) == []
  assert any(f.found == 'tensorflow-tpu 2.20.0, libtpu 0.0.20' for f in findings)


def test_a_tpu_that_a_run_asks_for_needs_the_wheel():
  (finding,) = the_bad(examine(healthy(), tpu='my-tpu'))
  assert 'ConfigureDistributedTPU' in finding.found


@pytest.mark.parametrize('versions, status, found, mend', [
    ({}, OK, 'no jax and no libtpu; `plan --tpu_topology` then goes by FLOPs',
     "pip install 'official-ext[tpu-preflight]'"),
    ({'jax': '0.10.2'}, OK, 'no libtpu; `plan --tpu_topology` then goes by FLOPs',
     "pip install 'official-ext[tpu-preflight]'"),
    ({'jax': '0.10.2', 'libtpu': '0.0.20'}, WARN,
     'jax 0.10.2, libtpu 0.0.20; tried with jax 0.10.2, libtpu 0.0.51',
     "pip install 'official-ext[tpu-preflight]'"),
    (doctor.PREFLIGHT, OK, 'jax 0.10.2, libtpu 0.0.51', '')])
def test_the_extra_of_the_preflight(versions, status, found, mend):
  findings = examine(healthy(package_version={**VERSIONS, **versions}.get))
  (finding,) = [f for f in findings if f.subject == 'TPU preflight']
  assert dataclasses.astuple(finding) == ('TPU preflight', status, found, mend)


def test_no_write_access_to_a_bucket():
  probes = healthy(try_to_write=raises(OSError('denied')))
  (finding,) = the_bad(examine(probes, model_dir='gs://bucket/run'))
  assert finding.found == 'gs://bucket/run: denied'
  assert finding.mend.endswith('or `gcloud auth application-default login`')


def test_the_write_probe_leaves_nothing_behind(tmp_path):
  probes = healthy(try_to_write=Probes().try_to_write)
  assert the_bad(examine(probes, model_dir=str(tmp_path / 'a' / 'b'))) == []
  assert list(tmp_path.iterdir()) == []
  file = tmp_path / 'file'
  file.write_text('')
  (finding,) = the_bad(examine(probes, model_dir=str(file / 'run')))
  assert finding.found == f'{file}/run: Not a directory'


def test_every_mistake_of_a_configuration_is_a_line():
  probes = healthy(check_config=raises(ConfigurationError(['one', 'two'])))
  assert [finding.found for finding in the_bad(
      examine(probes, gin_files=['own.gin']))] == ['one', 'two']


def test_the_real_configuration_probe():
  probes = healthy(check_config=Probes().check_config,
                   packaged_files=Probes().packaged_files)
  found = examine(probes, gin_files=['experiments/quickstart.gin'],
                  gin_params=['SEED = 10'])
  assert the_bad(found) == []
  (finding,) = the_bad(examine(probes, gin_files=['experiments/quikstart.gin']))
  assert "did you mean 'experiments/quickstart.gin'?" in finding.found


def test_the_table():
  findings = [doctor.Finding('python', OK, '3.11'),
              doctor.Finding('tensorflow', BROKEN, 'not installed', 'install it')]
  assert table(findings) == (
      'OK      python      3.11\n'
      'BROKEN  tensorflow  not installed\n'
      '                    -> install it\n'
      '1 broken, 0 to look at, of 2')


def test_the_supported_versions_are_those_of_pyproject():
  root = pathlib.Path(doctor.__file__).parents[1]
  project = tomllib.loads((root / 'pyproject.toml').read_text())['project']
  least, below = doctor.SUPPORTED['python']
  assert project['requires-python'] == (
      f'>={".".join(map(str, least))},<{".".join(map(str, below))}')
  wanted = {}
  for line in project['dependencies']:
    match = re.fullmatch(r'([\w-]+)~=(\d+)\.(\d+)\.\d+', line)
    if match:
      major, minor = int(match[2]), int(match[3])
      wanted[match[1]] = ((major, minor), (major, minor + 1))
  for name in doctor.MODULES:
    assert doctor.SUPPORTED[name] == wanted[name], name
  pinned = dict(
      line.split(';')[0].split('==')
      for line in project['optional-dependencies']['tpu-preflight'])
  assert doctor.PREFLIGHT == pinned


def test_this_machine(tmp_path):
  """The whole command, in the environment that the suite runs in."""
  environ = {**os.environ}
  environ.pop('TF_CPP_MIN_LOG_LEVEL', None)  # The command sets its own.
  done = subprocess.run(
      [sys.executable, '-m', 'official_ext.doctor', '--model_dir',
       str(tmp_path / 'run')], capture_output=True, text=True, check=False,
      env=environ)
  assert done.returncode == 0, done.stdout + done.stderr
  assert '0 broken' in done.stdout
  assert 'Keras 2 (tf_keras), as Model Garden has it' in done.stdout
  assert done.stderr == ''


def test_a_broken_machine_ends_with_exit_code_1(tmp_path):
  # A tensorflow that fails when it is imported, in front of the real one.
  (tmp_path / 'tensorflow.py').write_text("raise ImportError('made to fail')\n")
  done = subprocess.run(
      [sys.executable, '-m', 'official_ext.doctor'], capture_output=True,
      text=True, check=False,
      env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{os.getcwd()}'})
  assert done.returncode == 1
  assert re.search(
      'BROKEN  tensorflow .*but `import tensorflow` fails: made to fail',
      done.stdout)
  assert 'not examined: tensorflow cannot be imported' in done.stdout
