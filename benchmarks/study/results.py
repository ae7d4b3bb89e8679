"""`results.json`: one line per finished run, shared by all machines."""

from collections.abc import Mapping
import fcntl
import hashlib
import json
import os
import pathlib
from typing import Any

Record = dict[str, Any]
FORMAT = 1
PATH = pathlib.Path(__file__).parent / 'results.json'


class ResultsError(ValueError):
  """The results do not fit the study as it is now."""


def read(path: pathlib.Path) -> list[Record]:
  """The runs of a results file, in the file's order; none if it is missing.

  Raises:
    ResultsError: the file is something else.
  """
  if not path.exists():
    return []
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
    if content['format'] != FORMAT:
      raise ResultsError(
          f'{path} has format {content["format"]}, not {FORMAT}; use the '
          'commit of the project that wrote it')
    return list(content['runs'])
  except (ValueError, KeyError, TypeError) as error:
    if isinstance(error, ResultsError):
      raise
    raise ResultsError(
        f'{path} cannot be read as results ({error}); restore it from version '
        'control') from error


def add(path: pathlib.Path, record: Record) -> None:
  """Adds a run, or replaces the one of the same arm and seed.

  The file is written beside its place and renamed, so it is whole at any time.
  `run` and `finetune` may add at the same time: one waits for the other.
  """
  # The directory itself is locked, so that no file is left behind.
  lock = os.open(path.parent, os.O_RDONLY)
  try:
    fcntl.flock(lock, fcntl.LOCK_EX)
    runs = {(run['arm'], run['seed']): run for run in read(path)}
    runs[record['arm'], record['seed']] = record
    lines = ',\n'.join(
        json.dumps(runs[key], separators=(',', ':')) for key in sorted(runs))
    partial = path.with_name(path.name + '.partial')
    partial.write_text(
        f'{{"format": {FORMAT}, "runs": [\n{lines}\n]}}\n', encoding='utf-8')
    os.replace(partial, path)
  finally:
    os.close(lock)


def digest(value: Any) -> str:
  """A short hash of anything that JSON can hold."""
  text = json.dumps(value, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(record: Mapping[str, Any], settings: Mapping[str, str],
               data: str) -> str | None:
  """How a finished run differs from what the study would run now, or None.

  Args:
    record: the run.
    settings: of the arm now, see `record.settings`.
    data: hash of the data now.
  """
  changed = sorted(
      name for name in record['settings'].keys() | settings.keys()
      if record['settings'].get(name) != settings.get(name))
  if changed:
    return ', '.join(
        f'{name} was {record["settings"].get(name, "the default")}, is '
        f'{settings.get(name, "the default")}' for name in changed)
  if record['data'] != data:
    return f'the data had the hash {record["data"]}, now it is {data}'
  return None
