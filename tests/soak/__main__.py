"""Runs the soak, kills and fuzz, and prints its figures: `make soak`.

Usage: python -m tests.soak [--kills 50] [--seed 0] [--part kills|fuzz]
"""

import argparse
import os
import platform
import subprocess
import tempfile

from tests.fuzz import soak as fuzz
from tests.soak import kills

_PARTS = {'kills': 'a tiny run, disturbed', 'fuzz': 'what users write, fuzzed'}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0, help='of the moments')
  parser.add_argument('--part', choices=_PARTS, action='append')
  arguments = parser.parse_args()
  tables = {}
  for part in arguments.part or _PARTS:
    tables[part] = (_kill(arguments.kills, arguments.seed) if part == 'kills'
                    else fuzz.soak())
  commit = subprocess.run(
      ['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True,
      check=False).stdout.strip() or 'unknown'
  print(f'\ncommit {commit}, {os.cpu_count()} cores, '
        f'Python {platform.python_version()}')
  for part, rows in tables.items():
    print(f'\n| {_PARTS[part]} | |\n|---|---|')
    for what, figure in rows:
      print(f'| {what} | {figure} |')


def _kill(num_kills: int, seed: int) -> list[tuple[str, str]]:
  with tempfile.TemporaryDirectory() as path:
    return kills.soak(path, num_kills=num_kills, seed=seed).rows()


if __name__ == '__main__':
  main()
