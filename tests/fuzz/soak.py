"""Runs the fuzz tests with many cases, and says how many they were."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

_FOLDER = pathlib.Path(__file__).resolve().parent


def soak() -> list[tuple[str, str]]:
  """Runs them; returns (what, figure) rows for a table.

  Raises:
    RuntimeError: a property failed; pytest's report has been printed.
  """
  with tempfile.TemporaryDirectory() as folder:
    report = pathlib.Path(folder) / 'report.json'
    code = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', str(_FOLDER),
         '--hypothesis-profile=soak'], cwd=_FOLDER.parents[1], check=False,
        env=os.environ | {'OFFICIAL_EXT_FUZZ_REPORT': str(report)}).returncode
    if code:
      raise RuntimeError(f'pytest tests/fuzz ended with code {code}')
    figures = json.loads(report.read_text())
  return [('properties', str(len(figures['cases']))),
          ('cases', f'{sum(figures["cases"].values()):,}'),
          ('failures', str(len(figures['failed'])))]


if __name__ == '__main__':
  for what, figure in soak():
    print(f'| {what} | {figure} |')
