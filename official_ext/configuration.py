"""The door between gin and the library: text in, plain data out.

Library functions take plain arguments and never see gin. `load_config` binds
what the user wrote to them, in a gin state of its own, and lists every mistake
at once. These names can be configured:

  train            PretrainConfig, one run
  model            Architecture, its target
  compound_grow, stack, stack_bert, mslt, bert2bert, net2net, direct_copy,
  data_truncation, ffn_factorization, scratch     schedules of the papers
  growth_schedule, stage                 a schedule of one's own
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import copy
import dataclasses
from typing import Any

import gin

from official_ext import schedules
from official_ext.data.manifest import Manifest
from official_ext.gin_bindings import GinBindings
from official_ext.gin_source import Binding
from official_ext.gin_source import packaged_files
from official_ext.gin_source import read_source
from official_ext.gin_statements import Reference
from official_ext.growth.architecture import Architecture
from official_ext.mistakes import ConfigurationError
from official_ext.mistakes import one_line
from official_ext.mistakes import raise_if_any
from official_ext.training.run_config import PretrainConfig

MODULE = 'official_ext'

CONFIGURABLES = {
    'train': PretrainConfig,
    'model': Architecture,
    'compound_grow': schedules.compound_grow,
    'stack': schedules.stack,
    'stack_bert': schedules.stack_bert,
    'mslt': schedules.mslt,
    'bert2bert': schedules.bert2bert,
    'net2net': schedules.net2net,
    'direct_copy': schedules.direct_copy,
    'data_truncation': schedules.data_truncation,
    'ffn_factorization': schedules.ffn_factorization,
    'scratch': schedules.scratch,
    'growth_schedule': schedules.GrowthSchedule,
    'stage': schedules.Stage,
}

# The modules that all this is in, which are loaded by now.
IMPORTABLE = frozenset(
    '.'.join(parts[:end])
    for target in CONFIGURABLES.values()
    for parts in [target.__module__.split('.')]
    for end in range(1, len(parts) + 1))

for _name, _target in CONFIGURABLES.items():
  # The module keeps the names apart from those of Model Garden and of users.
  gin.external_configurable(_target, name=_name, module=MODULE)

_TRAIN = f'{MODULE}.train'
_MODEL = f'{MODULE}.model'


def load_config(
    gin_files: Sequence[str],
    gin_params: Sequence[str] = (),
    *,
    model_dir: str | None = None,
    data_dir: str | None = None,
    tpu: str | None = None,
    has_workers: bool = False,
    require_directories: bool = True,
) -> tuple[PretrainConfig, str]:
  """Reads a run's configuration: files, then settings, then flags; the last wins.

  Args:
    gin_files: paths, relative to the working directory or else to the packaged
      `gin_configs`, as in `experiments/quickstart.gin`.
    gin_params: settings such as `train.num_steps = 10` or `NUM_STEPS = 10`.
    model_dir: overrides `train.model_dir`.
    data_dir: overrides `train.data_dir`.
    tpu: overrides `train.tpu`, and sets `train.strategy` to 'tpu'.
    has_workers: sets `train.strategy` to 'multi_worker', if it is not a TPU's.
    require_directories: whether model_dir and data_dir have to be given, and
      the data is compared with the model; planning needs neither.

  Returns:
    The run, free of mistakes as far as they can be known without a device, and
    the resolved configuration: gin text with every setting, defaults too, which
    gives the same run when it is loaded.

  Raises:
    ConfigurationError: a ValueError that lists every mistake at once.
  """
  if not gin_files and not gin_params:
    raise ConfigurationError([
        'no --gin_file is given; start from one of: ' + ', '.join(
            name for name in packaged_files()
            if name.startswith('experiments/'))])
  source = read_source(gin_files, gin_params)
  flags = {'model_dir': model_dir, 'data_dir': data_dir, 'tpu': tpu or None}
  flag_bindings = [
      Binding('', 'train', name, value, f'--{name}')
      for name, value in flags.items() if value is not None]
  if tpu:
    flag_bindings.append(Binding('', 'train', 'strategy', 'tpu', '--tpu'))
  elif has_workers:
    flag_bindings.append(
        Binding('', 'train', 'strategy', 'multi_worker', 'TF_CONFIG'))
  mistakes = source.mistakes + _import_mistakes(source.imports)
  with _own_gin_state():
    bindings = GinBindings(source, flag_bindings, CONFIGURABLES, MODULE)
    _check(bindings, require_directories)
    raise_if_any(mistakes + bindings.mistakes)
    # Called through gin, which notes every setting that it uses.
    config = gin.get_configurable(_TRAIN)()
    text = _header(source.imports) + gin.operative_config_str()
  return config, text


def load_architecture(
    gin_files: Sequence[str],
    gin_params: Sequence[str] = (),
    *,
    defaults: Mapping[str, Any] | None = None,
) -> Architecture:
  """Reads the bindings of `model.*` alone, out of any gin files.

  Args:
    gin_files: as for `load_config`; what is said of other things is not looked
      at, beyond its names.
    gin_params: as for `load_config`, after the files.
    defaults: values of fields that neither sets.

  Raises:
    ConfigurationError: a ValueError that lists every mistake at once.
  """
  if not gin_files and not gin_params:
    raise ConfigurationError([
        'no --target_gin_file is given; start from one of: ' + ', '.join(
            name for name in packaged_files() if name.startswith('models/'))])
  source = read_source(gin_files, gin_params)
  # The first, because the last wins.
  source.bindings[:0] = [
      Binding('', 'model', name, value, 'default')
      for name, value in (defaults or {}).items()]
  with _own_gin_state():
    bindings = GinBindings(source, (), CONFIGURABLES, MODULE)
    is_sound = all([bindings.examine(binding, f'model.{name}')
                    for name, binding in bindings.of(_MODEL).items()])
    is_whole = bindings.find_missing(_MODEL)
    raise_if_any(source.mistakes + _import_mistakes(source.imports)
                 + bindings.mistakes)
    if not (is_sound and is_whole):
      raise ConfigurationError(['model cannot be built'])
    bindings.bind()
    model = Reference('model', True)
    try:
      return _value(bindings, model)
    except ValueError as error:
      raise ConfigurationError(
          [f'{error}{bindings.blame(model, str(error))}']) from error


@contextlib.contextmanager
def _own_gin_state() -> Iterator[None]:
  """An empty gin configuration; the caller's own is put back afterwards.

  The one place that touches gin's private state: gin can clear it, but not
  save it.
  """
  state = gin.config
  # pylint: disable=protected-access
  saved = [
      (state._CONFIG, {key: dict(value) for key, value in state._CONFIG.items()}),
      (state._OPERATIVE_CONFIG,
       {key: dict(value) for key, value in state._OPERATIVE_CONFIG.items()}),
      (state._IMPORTS, set(state._IMPORTS)),
  ]
  was_locked = gin.config_is_locked()
  gin.clear_config()
  try:
    yield
  finally:
    gin.clear_config()
    for container, content in saved:
      container.update(content)
    state._set_config_is_locked(was_locked)
  # pylint: enable=protected-access


def _import_mistakes(imports: Sequence[tuple[str, str]]) -> list[str]:
  """The imports that are refused. None is carried out: nothing needs one."""
  return [
      f'{place}: import {module} is not allowed; all that a gin file can '
      'configure is there without an import, drop the line'
      for module, place in imports if module not in IMPORTABLE]


def _header(imports: Sequence[tuple[str, str]]) -> str:
  lines = [
      '# The resolved configuration of a run: every setting, defaults too.',
      '# Load it with --gin_file to run the same again.', '']
  modules = sorted({module for module, _ in imports})
  if modules:
    lines += [f'import {module}' for module in modules] + ['']
  return '\n'.join(lines) + '\n'


def _check(bindings: GinBindings, require_directories: bool) -> None:
  """Binds and builds as much of the run as can be; adds to `bindings.mistakes`."""
  bound = bindings.of(_TRAIN)
  sound = [name for name, binding in bound.items()
           if bindings.examine(binding, f'train.{name}')]
  bindings.find_missing(_TRAIN)
  bindings.bind()
  values = {}
  for name in sound:
    try:
      values[name] = _value(bindings, bound[name].value)
    except ValueError as error:
      bindings.mistakes.append(
          f'train.{name}: {error}{bindings.blame(bound[name].value, str(error))}')
  if len(sound) < len(bound):
    # What a value with a mistake refers to may hold further ones.
    for reference in bindings.sound_references:
      try:
        _value(bindings, reference)
      except ValueError as error:
        line = f'{reference}: {error}{bindings.blame(reference, str(error))}'
        if not any(str(error) in other for other in bindings.mistakes):
          bindings.mistakes.append(line)
  # The rest is checked without what could not be built.
  unknown = {
      field.name for field in dataclasses.fields(PretrainConfig)
      if field.name not in values and (
          field.default is dataclasses.MISSING or field.name in bound
          or (_TRAIN, field.name) in bindings.dropped)}
  config = PretrainConfig(**values, **dict.fromkeys(unknown))
  manifest = None
  if require_directories and isinstance(config.data_dir, str):
    manifest = _read_manifest(config.data_dir, bindings.mistakes)
  for line in config.mistakes(
      manifest, require_directories=require_directories):
    name = line.split()[0]
    if name in values:
      line = f'{bindings.origin(bound[name]).place}: train.{line}'
    if name not in unknown:
      bindings.mistakes.append(line)


def _read_manifest(data_dir: str, mistakes: list[str]) -> Manifest | None:
  try:
    return Manifest.read(data_dir)
  except (OSError, ValueError) as error:
    mistakes.append(f'data: {one_line(error)}')
    return None


def _value(bindings: GinBindings, value: Any) -> Any:
  """What a value stands for, its references and macros included.

  Raises:
    ValueError: whatever went wrong, in the words of the code that was called.
  """
  try:
    # gin builds what a reference stands for when it is copied.
    return copy.deepcopy(bindings.gin_value(value))
  except Exception as error:  # pylint: disable=broad-except
    # A configurable may raise anything; all of it is the user's to mend. gin
    # adds lines about the call.
    words = str(error).split('\n  In call to configurable')[0]
    raise ValueError(one_line(words)) from error
