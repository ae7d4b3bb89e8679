"""Memory and speed of `prepare` on a corpus that is larger than its memory.

    python benchmarks/prepare_scale.py
    python benchmarks/prepare_scale.py --runner local --num_workers 2 --input_gb 2

Writes synthetic text (words of a Zipf distribution, documents of 1 to 60 lines,
64 files), prepares it as a user would, and samples the proportional set size of
all processes of the command together. One row for each runner and number of
workers; the data of all rows are compared byte by byte.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

MEMORY_GOAL_GB = 1.5
NUM_FILES = 64
_SAMPLE_SECONDS = 1.0


def write_corpus(folder: pathlib.Path, num_bytes: int) -> None:
  """Writes `NUM_FILES` text files of about `num_bytes` in all."""
  rng = np.random.default_rng(0)
  letters = np.array(list('etaoinshrdlucmfwypvbgk'))
  words = np.array([''.join(rng.choice(letters, rng.integers(2, 11)))
                    for _ in range(50_000)])
  share = 1 / np.arange(10, len(words) + 10)
  share /= share.sum()
  for number in range(NUM_FILES):
    written = 0
    with open(folder / f'{number:03d}.txt', 'w', encoding='ascii') as file:
      while written < num_bytes / NUM_FILES:
        drawn = rng.choice(words, 200_000, p=share).tolist()
        start = 0
        lines = []
        for length in rng.integers(5, 30, 12_000).tolist():
          lines.append(' '.join(drawn[start:start + length]) + '.')
          start += length
          if rng.random() < 0.05:
            lines.append('')
          if start >= len(drawn):
            break
        written += file.write('\n'.join(lines) + '\n')


def family(pid: int) -> list[int]:
  """A process and all below it."""
  found = [pid]
  for task in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
    try:
      for child in task.read_text().split():
        found += family(int(child))
    except OSError:
      pass
  return found


def proportional_bytes(pid: int) -> int:
  """Memory of a process, what it shares with others divided among them."""
  try:
    for line in pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
      if line.startswith('Pss:'):
        return int(line.split()[1]) << 10
  except OSError:
    pass
  return 0


def prepare(inputs: pathlib.Path, output: pathlib.Path, runner: str,
            num_workers: int) -> tuple[float, float]:
  """Seconds and the largest memory in GB of one preparation."""
  command = [sys.executable, '-m', 'official_ext.prepare',
             f'--input={inputs}/*.txt', f'--output_dir={output}',
             f'--runner={runner}', '--vocab_size=8192']
  if runner == 'local':
    command.append(f'--num_workers={num_workers}')
  else:
    command.append('--beam_pipeline_options=direct_running_mode=multi_processing,'
                   f'direct_num_workers={num_workers}')
  start, most = time.monotonic(), 0
  with open(output.with_suffix('.log'), 'w', encoding='utf-8') as log:
    process = subprocess.Popen(command, stdout=log, stderr=log)
    while process.poll() is None:
      most = max(most, sum(map(proportional_bytes, family(process.pid))))
      time.sleep(_SAMPLE_SECONDS)
  if process.returncode:
    raise RuntimeError(output.with_suffix('.log').read_text(encoding='utf-8'))
  return time.monotonic() - start, most / 1e9


def contents(folder: pathlib.Path) -> str:
  """Hash of all files of a data directory."""
  whole = hashlib.sha256()
  for path in sorted(folder.iterdir()):
    with open(path, 'rb') as file:
      whole.update(f'{path.name} {hashlib.file_digest(file, "sha256").hexdigest()}'
                   .encode())
  return whole.hexdigest()


def main() -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--input_gb', type=float, default=2.0)
  parser.add_argument('--runner', choices=('local', 'beam'), action='append')
  parser.add_argument('--num_workers', type=int, action='append')
  parser.add_argument('--folder', help='where to work; default: a temporary one')
  flags = parser.parse_args()
  folder = pathlib.Path(tempfile.mkdtemp(dir=flags.folder))
  try:
    inputs = folder / 'text'
    inputs.mkdir()
    write_corpus(inputs, int(flags.input_gb * 1e9))
    size = sum(path.stat().st_size for path in inputs.iterdir())
    print(f'{size / 1e9:.2f} GB of text, {os.cpu_count()} cores; goal: '
          f'under {MEMORY_GOAL_GB} GB of memory', flush=True)
    print(f'{"runner":8}{"workers":>8}{"seconds":>9}{"MB/s":>7}{"memory":>9}'
          '  goal', flush=True)
    seen = set()
    for runner in flags.runner or ('local', 'beam'):
      for num_workers in flags.num_workers or (1, 2):
        output = folder / f'{runner}{num_workers}'
        seconds, memory = prepare(inputs, output, runner, num_workers)
        seen.add(contents(output))
        shutil.rmtree(output)
        print(f'{runner:8}{num_workers:8}{seconds:9.1f}'
              f'{size / 1e6 / seconds:7.1f}{memory:6.2f} GB  '
              f'{"reached" if memory < MEMORY_GOAL_GB else "missed"}', flush=True)
    print('the data of all rows are '
          f'{"the same" if len(seen) == 1 else "NOT THE SAME"}')
  finally:
    shutil.rmtree(folder)


if __name__ == '__main__':
  main()
