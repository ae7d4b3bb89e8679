"""Runs the soak and prints its figures as one table: `make soak`.

Usage: python -m tests.soak [--kills 50] [--seed 0]
"""

import argparse
import os
import platform
import subprocess
import tempfile

from tests.soak import kills


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=50)
  parser.add_argument('--seed', type=int, default=0)
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as path:
    killed = kills.soak(path, num_kills=arguments.kills, seed=arguments.seed)
  _print_table([('a tiny run, disturbed', killed.rows())])


def _print_table(parts) -> None:
  commit = subprocess.run(
      ['git', 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True,
      check=False).stdout.strip() or 'unknown'
  print(f'\ncommit {commit}, {os.cpu_count()} cores, '
        f'Python {platform.python_version()}\n')
  for title, rows in parts:
    print(f'| {title} | |\n|---|---|')
    for what, figure in rows:
      print(f'| {what} | {figure} |')
    print()


if __name__ == '__main__':
  main()
