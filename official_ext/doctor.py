"""Says what of the installation is broken, and how to mend it.

Looks at versions, devices, the TPU wheel, Keras, write access and the search
path of gin files. Exit code 1 if something is broken, else 0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
import glob
import importlib
import importlib.metadata
import os
import re
import sys
from typing import Any

from absl import flags

from official_ext.command import run_command
from official_ext.mistakes import one_line
from official_ext.training import write_access

_MODEL_DIR = flags.DEFINE_string(
    'model_dir', None, 'Run directory that has to be writable; default: here.')
_GIN_FILE = flags.DEFINE_multi_string(
    'gin_file', [], 'Configuration to check, without a device and without data.')
_GIN_PARAMS = flags.DEFINE_multi_string(
    'gin_params', [], 'Single settings that override the files.')
_TPU = flags.DEFINE_string(
    'tpu', None, 'TPU that the run will use; the TPU wheel is then needed.')

OK, WARN, BROKEN = 'OK', 'WARN', 'BROKEN'

# The first version that works and the first that does not; pyproject.toml says
# the same.
SUPPORTED = {
    'python': ((3, 11), (3, 13)),
    'tensorflow': ((2, 20), (2, 21)),
    'tf-models-official': ((2, 20), (2, 21)),
    'tensorflow-text': ((2, 20), (2, 21)),
    'tf-keras': ((2, 20), (2, 21)),
    'gin-config': ((0, 5), (0, 6)),
}

# What a package is called when it is imported.
MODULES = {
    'tensorflow': 'tensorflow',
    'tf-models-official': 'official.nlp.modeling',
    'tensorflow-text': 'tensorflow_text',
    'tf-keras': 'tf_keras',
    'gin-config': 'gin',
}

# What the TPU compiler was tried with; pyproject.toml says the same.
PREFLIGHT = {'jax': '0.10.2', 'libtpu': '0.0.51'}


@dataclasses.dataclass(frozen=True)
class Finding:
  """One line of the table.

  Attributes:
    subject: what was looked at.
    status: OK, WARN or BROKEN.
    found: what was found.
    mend: what to do; empty if nothing has to be done.
  """

  subject: str
  status: str
  found: str
  mend: str = ''


def _package_version(name: str) -> str | None:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def _devices() -> list[str]:
  import tensorflow as tf
  return [f'{device.device_type} {device.name.rsplit(":", 1)[-1]}'
          for device in tf.config.list_physical_devices()]


def _is_tpu_host() -> bool:
  return bool(glob.glob('/dev/accel[0-9]*') or os.environ.get('TPU_NAME')
              or os.environ.get('TPU_ACCELERATOR_TYPE'))


def _layer_module() -> str:
  """The module of the class that Model Garden's layers are made of."""
  from official.nlp.modeling import layers
  bases = layers.TransformerEncoderBlock.__mro__
  return next(base.__module__ for base in bases if base.__name__ == 'Layer')


def _try_to_write(directory: str) -> None:
  """Writes a file and deletes it, in the directory or its nearest parent."""
  if '://' in directory:
    import tensorflow as tf
    path = os.path.join(directory, '.official_ext_doctor')
    try:
      with tf.io.gfile.GFile(path, 'w') as file:
        file.write('')
      tf.io.gfile.remove(path)
    except tf.errors.OpError as error:
      raise OSError(error.message) from error
    return
  write_access.try_to_write(directory)


def _packaged_files() -> list[str]:
  from official_ext import gin_source
  return gin_source.packaged_files()


def _check_config(
    gin_files: Sequence[str], gin_params: Sequence[str], tpu: str | None) -> None:
  from official_ext import configuration
  configuration.load_config(
      gin_files, gin_params, tpu=tpu, require_directories=False)


@dataclasses.dataclass(frozen=True)
class Probes:
  """How the doctor looks at the machine; tests put others in their place."""

  python_version: tuple[int, ...] = tuple(sys.version_info[:3])
  environ: Mapping[str, str] = dataclasses.field(
      default_factory=lambda: os.environ)
  package_version: Callable[[str], str | None] = _package_version
  import_module: Callable[[str], Any] = importlib.import_module
  devices: Callable[[], list[str]] = _devices
  is_tpu_host: Callable[[], bool] = _is_tpu_host
  layer_module: Callable[[], str] = _layer_module
  try_to_write: Callable[[str], None] = _try_to_write
  packaged_files: Callable[[], list[str]] = _packaged_files
  check_config: Callable[
      [Sequence[str], Sequence[str], str | None], None] = _check_config


def examine(
    probes: Probes,
    *,
    model_dir: str | None = None,
    gin_files: Sequence[str] = (),
    gin_params: Sequence[str] = (),
    tpu: str | None = None,
) -> list[Finding]:
  """Looks at everything; an error in one place does not hide the others."""
  imports = _imports(probes)
  findings = [_python(probes.python_version)]
  findings += [_package(name, probes, imports[name]) for name in MODULES]
  tensorflow_works = imports['tensorflow'] is None
  if tensorflow_works:
    findings.append(_device_finding(probes))
  else:
    findings.append(Finding(
        'devices', WARN, 'not examined: tensorflow cannot be imported',
        'mend tensorflow first'))
  findings.append(_tpu_wheel(probes, tpu))
  findings.append(_tpu_preflight(probes))
  findings.append(_keras(probes, imports))
  findings.append(_write_access(probes, model_dir))
  findings += _gin(probes, gin_files, gin_params, tpu)
  return findings


def table(findings: Sequence[Finding]) -> str:
  """The findings as aligned text, each mend below its line."""
  width = max(len(finding.subject) for finding in findings)
  lines = []
  for finding in findings:
    lines.append(
        f'{finding.status:<6}  {finding.subject:<{width}}  {finding.found}')
    if finding.mend:
      lines.append(f'{"":<6}  {"":<{width}}  -> {finding.mend}')
  broken = sum(finding.status == BROKEN for finding in findings)
  warnings = sum(finding.status == WARN for finding in findings)
  lines.append(f'{broken} broken, {warnings} to look at, of {len(findings)}')
  return '\n'.join(lines)


def _imports(probes: Probes) -> dict[str, Exception | None]:
  """What happened when each package was imported."""
  outcome = {}
  for name, module in MODULES.items():
    try:
      probes.import_module(module)
      outcome[name] = None
    except Exception as error:  # pylint: disable=broad-except
      # A broken binary raises whatever it likes; the doctor reports it.
      outcome[name] = error
  return outcome


def _python(version: tuple[int, ...]) -> Finding:
  found = '.'.join(map(str, version))
  least, below = SUPPORTED['python']
  if least <= tuple(version) < below:
    return Finding('python', OK, found)
  return Finding(
      'python', BROKEN, f'{found}, supported: {_range("python")}',
      'make the virtual environment anew with Python '
      f'{".".join(map(str, least))}')


def _package(name: str, probes: Probes, error: Exception | None) -> Finding:
  found = probes.package_version(name)
  install = f'pip install "{name}~={_text(SUPPORTED[name][0])}.0"'
  if name == 'tensorflow' and found is None:
    # The TPU wheel is a tensorflow of its own.
    found = probes.package_version('tensorflow-tpu')
  if found is None:
    return Finding(name, BROKEN, 'not installed', install)
  least, below = SUPPORTED[name]
  if not least <= _numbers(found) < below:
    return Finding(
        name, BROKEN, f'{found}, supported: {_range(name)}', install)
  if error is not None:
    return Finding(
        name, BROKEN,
        f'{found}, but `import {MODULES[name]}` fails: {one_line(error)}',
        _import_mend(error, name))
  return Finding(name, OK, found)


def _device_finding(probes: Probes) -> Finding:
  try:
    devices = probes.devices()
  except Exception as error:  # pylint: disable=broad-except
    return Finding(
        'devices', BROKEN, f'cannot be listed: {one_line(error)}',
        'check the driver of the accelerator')
  found = ', '.join(devices) or 'none'
  if not devices:
    return Finding('devices', BROKEN, found, 'reinstall tensorflow')
  hidden = probes.environ.get('CUDA_VISIBLE_DEVICES')
  if hidden in ('', '-1'):
    return Finding(
        'devices', WARN, f'{found}; CUDA_VISIBLE_DEVICES={hidden!r} hides GPUs',
        'unset CUDA_VISIBLE_DEVICES to use them')
  return Finding('devices', OK, found)


def _tpu_wheel(probes: Probes, tpu: str | None) -> Finding:
  wheel = probes.package_version('tensorflow-tpu')
  libtpu = probes.package_version('libtpu')
  subject = 'TPU wheel'
  least = _text(SUPPORTED['tensorflow'][0])
  install = f'pip install "tensorflow-tpu~={least}.0" libtpu, after all else'
  if not (tpu or probes.is_tpu_host()):
    return Finding(subject, OK, wheel or 'not installed; not needed without TPU')
  if wheel is None:
    return Finding(
        subject, BROKEN,
        'plain tensorflow knows no TPU: "No OpKernel was registered to support '
        'Op \'ConfigureDistributedTPU\'"', install)
  if _numbers(wheel)[:2] != SUPPORTED['tensorflow'][0]:
    return Finding(
        subject, BROKEN, f'tensorflow-tpu {wheel}, supported: '
        f'{_range("tensorflow")}', install)
  if libtpu is None:
    return Finding(
        subject, BROKEN, f'tensorflow-tpu {wheel} without libtpu', install)
  if probes.package_version('tensorflow') is not None:
    return Finding(
        subject, WARN, f'tensorflow-tpu {wheel} beside plain tensorflow: of '
        'their files, those installed last are used',
        f'pip install --force-reinstall --no-deps "tensorflow-tpu~={least}.0"')
  return Finding(subject, OK, f'tensorflow-tpu {wheel}, libtpu {libtpu}')


def _tpu_preflight(probes: Probes) -> Finding:
  """The extra that compiles for TPUs; a run needs it nowhere."""
  subject = 'TPU preflight'
  install = "pip install 'official-ext[tpu-preflight]'"
  found = {name: probes.package_version(name) for name in PREFLIGHT}
  missing = [name for name, version in found.items() if version is None]
  if missing:
    return Finding(
        subject, OK, f'no {" and no ".join(missing)}; `plan --tpu_topology` then '
        'goes by FLOPs', install)
  text = ', '.join(f'{name} {version}' for name, version in found.items())
  if found != PREFLIGHT:
    tried = ', '.join(f'{name} {version}' for name, version in PREFLIGHT.items())
    return Finding(subject, WARN, f'{text}; tried with {tried}', install)
  return Finding(subject, OK, text)


def _keras(probes: Probes, imports: Mapping[str, Exception | None]) -> Finding:
  for name in ('tensorflow', 'tf-keras', 'tf-models-official'):
    if imports[name] is not None:
      return Finding('Keras', WARN, f'not examined: {name} cannot be imported',
                     f'mend {name} first')
  try:
    module = probes.layer_module()
  except Exception as error:  # pylint: disable=broad-except
    return Finding(
        'Keras', BROKEN, f"Model Garden's layers fail: {one_line(error)}",
        'reinstall tf-models-official')
  if module.split('.')[0] != 'tf_keras':
    return Finding(
        'Keras', BROKEN,
        f"Model Garden's layers come from {module.split('.')[0]} (Keras 3), not "
        'from tf_keras (Keras 2): the two do not mix',
        'pip install "tf-keras~=2.20.0" "tf-models-official~=2.20.0"')
  return Finding('Keras', OK, 'Keras 2 (tf_keras), as Model Garden has it')


def _write_access(probes: Probes, model_dir: str | None) -> Finding:
  directory = model_dir or os.getcwd()
  try:
    probes.try_to_write(directory)
  except (OSError, ImportError) as error:
    return Finding(
        'write access', BROKEN,
        f'{directory}: {getattr(error, "strerror", None) or one_line(error)}',
        'give --model_dir a place that you may write to'
        + (', or `gcloud auth application-default login`'
           if directory.startswith('gs://') else ''))
  return Finding('write access', OK, directory)


def _gin(probes, gin_files, gin_params, tpu) -> Iterator[Finding]:
  try:
    files = probes.packaged_files()
  except ImportError as error:
    files = []
    found = f'gin_configs cannot be imported: {one_line(error)}'
  else:
    found = f'{os.getcwd()}, then {len(files)} packaged files'
  if not files:
    yield Finding('gin search path', BROKEN, found,
                  'reinstall official-ext, which ships the gin files')
  else:
    yield Finding('gin search path', OK, found)
  if not gin_files and not gin_params:
    return
  try:
    probes.check_config(gin_files, gin_params, tpu)
  except (ValueError, ImportError) as error:
    for mistake in getattr(error, 'mistakes', (str(error),)):
      yield Finding('configuration', BROKEN, one_line(mistake))
  else:
    yield Finding('configuration', OK, ', '.join([*gin_files, *gin_params]))


def _import_mend(error: Exception, name: str) -> str:
  if isinstance(error, ModuleNotFoundError) and error.name == 'pkg_resources':
    return 'pip install "setuptools<81"; later ones have no pkg_resources'
  if isinstance(error, ModuleNotFoundError) and error.name:
    return f'pip install {error.name}, or make the environment from the lock'
  return f'pip install --force-reinstall {name}, or make the environment anew'


def _numbers(version: str) -> tuple[int, ...]:
  """(2, 20, 1) of '2.20.1', (2, 20, 0) of '2.20.0rc1'."""
  leading = re.match(r'\d+(\.\d+)*', version)
  return tuple(map(int, leading.group().split('.'))) if leading else ()


def _range(name: str) -> str:
  least, below = SUPPORTED[name]
  return f'{_text(least)} up to, not including, {_text(below)}'


def _text(version: tuple[int, ...]) -> str:
  return '.'.join(map(str, version))


def main() -> None:
  """Prints the table."""
  findings = examine(
      Probes(), model_dir=_MODEL_DIR.value, gin_files=_GIN_FILE.value,
      gin_params=_GIN_PARAMS.value, tpu=_TPU.value)
  print(table(findings))
  if any(finding.status == BROKEN for finding in findings):
    sys.exit(1)


if __name__ == '__main__':
  run_command(main)
