#!/usr/bin/env python3
"""Keeps a training run going on spot TPUs until it is done.

  supervise.py [flags] -- TRAIN_ARGUMENTS

Creates the TPU, sets up its hosts, launches the run, and looks after it: a TPU that
was taken away is deleted and created again, and the run resumes by the same
command. Ends when the run is done (exit code 0), when its configuration has
mistakes (2), or when too much failed (1); the TPU is then deleted. Runs anywhere
but on the TPU; if it is ended itself, the run goes on, and the same command takes
it up again. Needs Python 3.11, and gcloud.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import subprocess
import sys
import time

# Beside this file, wherever the working directory is.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

# pylint: disable=wrong-import-position
from supervision import Counters
from supervision import decide
from supervision import Decision
from supervision import Do
from supervision import Limits
from supervision import pause
from supervision import Seen

_HERE = pathlib.Path(__file__).resolve().parent
# Of settings.sh; what is given here is handed on to every script.
_SETTINGS = ('name', 'zone', 'type', 'runtime', 'project', 'spot', 'settings')


class Scripts:
  """The scripts beside this file, as steps."""

  def __init__(self, flags: argparse.Namespace, arguments: Sequence[str]):
    self._settings = [
        word for name in _SETTINGS if getattr(flags, name) is not None
        for word in (f'--{name}', getattr(flags, name))]
    self._wheel = ['--wheel', flags.wheel] if flags.wheel else []
    self._files = [word for path in flags.file for word in ('--file', path)]
    self._arguments = ['--', *arguments]
    self._dry_run = ['--dry_run'] if flags.dry_run else []

  def can_work(self) -> bool:
    """Whether the settings and arguments pass what each script checks first."""
    commands = [self._command(script, '--dry_run', *rest) for script, rest in (
        ('create.sh', ()), ('setup_hosts.sh', self._wheel),
        ('launch.sh', (*self._files, *self._arguments)))]
    return all(
        subprocess.run(
            command, stdout=subprocess.DEVNULL, check=False).returncode == 0
        for command in commands)

  def look(self) -> Seen:
    """How the TPU and the run on it are."""
    done = subprocess.run(
        self._command('status.sh'), stdout=subprocess.PIPE, text=True,
        check=False)
    if done.returncode == 2:
      # gcloud is not there: no look will ever succeed.
      raise SystemExit(2)
    return Seen.from_json(done.stdout)

  def carry_out(self, step: Do) -> bool:
    """Runs the script of a step; returns whether it succeeded."""
    command = {
        Do.CREATE: self._command('create.sh', '--no_wait'),
        Do.SET_UP: self._command('setup_hosts.sh', *self._wheel),
        Do.LAUNCH: self._command('launch.sh', *self._files, *self._arguments),
        Do.DELETE: self._command('tear_down.sh', '--no_stop'),
        Do.END: self._command('tear_down.sh'),
    }[step]
    return subprocess.run(command, check=False).returncode == 0

  def _command(self, script: str, *arguments: str) -> list[str]:
    return ['bash', str(_HERE / script), *self._settings, *self._dry_run,
            *arguments]


def supervise(
    look: Callable[[], Seen], carry_out: Callable[[Do], bool],
    arguments: Sequence[str], limits: Limits, *, keep: bool = False,
    deadline: float = float('inf'), say: Callable[[str], None] = print,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic) -> int:
  """The loop.

  Args:
    look: how things are.
    carry_out: does a step; whether it succeeded.
    arguments: of the run.
    limits: when to give up.
    keep: leave the TPU when the loop stops.
    deadline: by `clock`, when to give up.
    say, sleep, clock: seams for tests.

  Returns:
    The exit code.
  """
  counters, shown = Counters(), None
  while True:
    seen = look()
    decision, counters = decide(seen, counters, limits, list(arguments))
    if decision.do is Do.WAIT and clock() >= deadline:
      decision = Decision(Do.STOP, 'the hours are over', exit_code=1)
    if (str(seen), decision.do) != shown:
      say(f'{seen}: {decision.do.value}'
          + (f' ({decision.why})' if decision.why else ''))
      shown = (str(seen), decision.do)
    for line in (seen.job or {}).get('last_lines', ()):
      if decision.do in (Do.LAUNCH, Do.STOP):
        say(f'  | {line}')
    if decision.do is Do.STOP:
      is_running = (seen.job or {}).get('state') == 'running'
      last = Do.END if is_running else Do.DELETE
      if not (keep or decision.keep or carry_out(last)):
        say('the TPU could not be deleted and may cost money: tear_down.sh')
      return decision.exit_code
    if decision.do is not Do.WAIT and not carry_out(decision.do):
      counters = counters.after_failure()
      say(f'{decision.do.value} failed')
      decision = dataclasses.replace(
          decision, wait_seconds=pause(counters.failures, limits))
    sleep(decision.wait_seconds)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """The flags, and the arguments of the run, which come after `--`."""
  parser = argparse.ArgumentParser(
      description=__doc__, allow_abbrev=False,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  for name in _SETTINGS:
    parser.add_argument(f'--{name}', help='see create.sh --help')
  parser.add_argument('--wheel', help='see setup_hosts.sh --help')
  parser.add_argument('--file', action='append', default=[],
                      help='see launch.sh --help; may be repeated')
  for field in dataclasses.fields(Limits):
    parser.add_argument(
        f'--{field.name}', type=type(field.default), default=field.default,
        metavar='N', help=f'default: {field.default}')
  parser.add_argument('--max_hours', type=float, default=float('inf'),
                      metavar='N', help='give up after so many hours')
  parser.add_argument('--keep', action='store_true',
                      help='leave the TPU when the loop stops')
  parser.add_argument('--dry_run', action='store_true',
                      help='print what each step would do, and do nothing')
  own, separator, arguments = list(argv), None, []
  if '--' in own:
    separator = own.index('--')
    own, arguments = own[:separator], own[separator + 1:]
  flags = parser.parse_args(own)
  if not arguments:
    parser.error('no arguments of train are given; write them after --')
  return flags, arguments


def main(argv: Sequence[str]) -> int:
  """Supervises as the flags say; returns the exit code."""
  flags, arguments = parse(argv)
  scripts = Scripts(flags, arguments)
  if flags.dry_run:
    for step in (Do.CREATE, Do.SET_UP, Do.LAUNCH, Do.DELETE):
      print(f'{step.value}:', flush=True)
      if not scripts.carry_out(step):
        return 2
    return 0
  if not scripts.can_work():
    return 2
  limits = Limits(**{field.name: getattr(flags, field.name)
                     for field in dataclasses.fields(Limits)})

  def say(line):
    print(f'{time.strftime("%F %T")} {line}', flush=True)

  try:
    return supervise(
        scripts.look, scripts.carry_out, arguments, limits, keep=flags.keep,
        deadline=time.monotonic() + flags.max_hours * 3600, say=say)
  except KeyboardInterrupt:
    say('interrupted; the run goes on, and the same command takes it up again')
    return 130


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
