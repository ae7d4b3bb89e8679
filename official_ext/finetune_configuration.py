"""The door between gin and fine-tuning: `finetune.*` in, a `FinetuneConfig` out."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import gin

from official_ext.downstream.finetune_config import FinetuneConfig
from official_ext.gin_bindings import GinBindings
from official_ext.gin_source import Binding
from official_ext.gin_source import read_source
from official_ext.gin_statements import Macro
from official_ext.gin_statements import Reference
from official_ext.gin_statements import references
from official_ext.mistakes import raise_if_any

MODULE, NAME = 'official_ext', 'finetune'

gin.external_configurable(FinetuneConfig, name=NAME, module=MODULE)


def load_finetune_config(
    gin_files: Sequence[str], gin_params: Sequence[str],
    flags: Mapping[str, Any]) -> tuple[FinetuneConfig, str, list[str]]:
  """Reads files, then settings, then flags; the last wins.

  Args:
    gin_files: paths, relative to the working directory or else to the packaged
      `gin_configs`.
    gin_params: settings such as `finetune.num_epochs = 4`.
    flags: field to value; None leaves it.

  Returns:
    The configuration; it as gin text that gives the same when it is loaded; and
    the mistakes in its fields, which start with the place where they stand.

  Raises:
    ConfigurationError: files or settings cannot be read, or name what there is
      not; everything is listed.
  """
  source = read_source(gin_files, gin_params)
  later = [Binding('', NAME, field, value, f'--{field}')
           for field, value in flags.items() if value is not None]
  bindings = GinBindings(source, later, {NAME: FinetuneConfig}, MODULE)
  mistakes = source.mistakes + [
      f'{place}: import {module}: a fine-tuning imports nothing; drop the line'
      for module, place in source.imports]
  bound = bindings.of(f'{MODULE}.{NAME}')
  values = {}
  for field, binding in bound.items():
    if not bindings.examine(binding, f'{NAME}.{field}'):
      continue
    value = _value(bindings, binding.value)
    if any(isinstance(item, Reference) for item in references(value)):
      mistakes.append(f'{binding.place}: {NAME}.{field} refers to itself; give '
                      'a value')
    values[field] = value
  mistakes += bindings.mistakes
  raise_if_any(mistakes)
  config = FinetuneConfig(**values)
  return config, _text(config), [
      _placed(line, bindings, bound) for line in config.mistakes()]


def _value(bindings: GinBindings, value: Any) -> Any:
  """A value with its macros replaced; only for what is sound."""
  if isinstance(value, Macro):
    origin = bindings.origin(Binding('', '', '', value, ''))
    return _value(bindings, origin.value)
  if isinstance(value, (list, tuple)):
    return type(value)(_value(bindings, item) for item in value)
  return value


def _placed(line: str, bindings: GinBindings, bound: Mapping[str, Binding]
            ) -> str:
  field = line.split()[0].rstrip(':')
  if field not in bound:
    return line
  place = bindings.origin(bound[field]).place
  return line if place.startswith('--') and place == f'--{field}' else (
      f'{place}: {NAME}.{line}')


def _text(config: FinetuneConfig) -> str:
  lines = ['# The resolved configuration of a fine-tuning: every setting.', '']
  lines += [f'{NAME}.{field.name} = {getattr(config, field.name)!r}'
            for field in dataclasses.fields(config)]
  return '\n'.join(lines) + '\n'
