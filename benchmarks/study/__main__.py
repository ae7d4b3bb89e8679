"""The small-scale study: runs its arms, shows what is left, renders the results.

  python -m benchmarks.study run --text english.txt.gz --work_dir STUDY
  python -m benchmarks.study status --work_dir STUDY
  python -m benchmarks.study finetune --work_dir STUDY --brown_prose DIR --arms 'bert/*'
  python -m benchmarks.study render
"""

import argparse
import pathlib
import sys

from benchmarks.study import finetuning
from benchmarks.study import results
from benchmarks.study import runner
from official_ext.command import quieten


def main() -> int:
  parser = argparse.ArgumentParser(
      prog='python -m benchmarks.study', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  commands = parser.add_subparsers(dest='command', required=True)
  run = commands.add_parser(
      'run', help='train what is not in the results yet; may be interrupted')
  status = commands.add_parser('status', help='show what is done and left')
  finetune = commands.add_parser(
      'finetune', help='fine-tune finished runs whose directories are there')
  for command in (run, status, finetune):
    command.add_argument('--work_dir', type=pathlib.Path, required=True,
                         help='data, run directories and logs')
    command.add_argument('--arms', nargs='*', default=[], metavar='PATTERN',
                         help="only these, such as 'bert/stack*'")
    command.add_argument('--seeds', nargs='*', type=int, default=None,
                         help='only these')
    command.add_argument('--results', type=pathlib.Path, default=results.PATH)
  run.add_argument('--text', help='the text to prepare the data from')
  for command in (run, status, finetune):
    command.add_argument('--processes', type=int, default=2,
                         help='processes at a time, one thread each')
  finetune.add_argument(
      '--brown_prose', type=pathlib.Path, required=True,
      help='directory of train.tsv and dev.tsv, in the form of SST-2')
  run.add_argument('--nice', type=int, default=10, help='niceness of trainings')
  run.add_argument('--rerun', nargs='*', default=[], metavar='ARM',
                   help='replace the results of these arms if they differ')
  render = commands.add_parser(
      'render', help='write docs/evidence.md, its figures, results.csv and the '
      'table in README.md')
  render.add_argument('--results', type=pathlib.Path, default=results.PATH)
  options = parser.parse_args()
  quieten()
  try:
    if options.command == 'render':
      return _render(options.results)
    study = runner.Study(options.work_dir.resolve(), options.results.resolve(),
                         options.arms, options.seeds)
    if options.command == 'status':
      print(status_table(study, options.processes))
      return 0
    if options.command == 'finetune':
      return _finetune(study, options)
    return _run(study, options)
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('stopped; the same command goes on from here', file=sys.stderr)
    return 75


def _run(study: runner.Study, options: argparse.Namespace) -> int:
  study.prepare(options.text and str(pathlib.Path(options.text).resolve()))
  left = study.unfinished(options.rerun)
  print(f'{len(left)} of {len(study.runs)} runs left, '
        f'{sum(run.flops for run in left):.3g} training FLOPs', flush=True)
  failed = runner.run_all(
      study, left, num_processes=options.processes, niceness=options.nice,
      say=lambda line: print(line, flush=True))
  for each in failed:
    print(f'failed: {each}; its log is {each.log_file}', file=sys.stderr)
  return 1 if failed else 0


def _finetune(study: runner.Study, options: argparse.Namespace) -> int:
  failed = finetuning.finetune_all(
      study, finetuning.make_tasks(study.work_dir, options.brown_prose.resolve()),
      num_processes=options.processes,
      say=lambda line: print(line, flush=True))
  for line in failed:
    print(f'failed: {line}', file=sys.stderr)
  return 1 if failed else 0


def _render(path: pathlib.Path) -> int:
  from benchmarks.study import render  # Matplotlib, which takes a second.
  for written in render.write(results.read(path)):
    print(written)
  return 0


def status_table(study: runner.Study, num_processes: int) -> str:
  """Arms by seeds: the final loss, the step of an unfinished run, or a dash."""
  speed = runner.Speed()
  done = {(run['arm'], run['seed']): run
          for run in results.read(study.results_path)}
  by_arm = {}
  for run in study.runs:
    finished = done.get((run.arm.name, run.seed))
    step = run.step()
    by_arm.setdefault(run.arm.name, []).append(
        f'{finished["final_loss"]:.4f}' if finished
        else f'at {step}' if step else '-')
  width = max(map(len, by_arm))
  lines = [f'{name:{width}}  ' + '  '.join(f'{cell:>8}' for cell in cells)
           for name, cells in by_arm.items()]
  for entry in done.values():
    speed.add(entry)
  left = [run for run in study.runs if (run.arm.name, run.seed) not in done]
  return '\n'.join([
      *lines, f'{len(study.runs) - len(left)} of {len(study.runs)} runs done'
      + speed.time_left(left, num_processes)])


if __name__ == '__main__':
  sys.exit(main())
