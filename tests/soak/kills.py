"""Kills a tiny run at random moments, again and again, and lets it go on.

Each run is `official_ext.train` itself, and has to end as one that was left
alone: the same weights, optimizer, random state, metrics and growths, to the
bit. Half of the moments are anywhere; the others are aimed at the three short
windows in which most is at stake.
"""

from collections import Counter
from collections.abc import Callable
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time

from tests.soak import moments
from tests.training import run_comparison
from tests.training import tiny_run
from tests.training.forked_process import ForkedProcesses

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
_STOPPED_EXIT_CODE = 75
# Of every ten sessions: how many are killed anywhere, how many are told to stop,
# and how many are killed in each of the short windows.
_AIMS = ('anywhere',) * 3 + ('told',) + ('saving', 'growing', 'grown') * 2
GIN = '''
include 'runs/tiny.gin'
VOCAB_SIZE = 40
SEQUENCE_LENGTH = 16
NUM_PREDICTIONS = 3
NUM_STEPS = 40
LOG_INTERVAL_STEPS = 2
CHECKPOINT_INTERVAL_STEPS = 4
OPTIMIZER_GROWTH = 'transfer'
model.num_layers = 2
model.hidden_size = 16
model.num_heads = 2
model.inner_size = 32
model.vocab_size = %VOCAB_SIZE
model.max_positions = %SEQUENCE_LENGTH
train.eval_steps = 1
train.schedule = @growth_schedule()
growth_schedule.stages = [@half/stage(), @full/stage()]
half/stage.name = 'half'
half/stage.steps = 21
half/stage.depth = 0.5
half/stage.ffn_sharing = 2
half/stage.query_pool_size = 2
full/stage.name = 'full'
full/stage.steps = 19
'''


@dataclasses.dataclass
class Outcome:
  """What the soak did.

  Attributes:
    killed: moment -> processes that were killed in it.
    told: processes that were told to stop, and did.
    compared: runs that were compared with the undisturbed one.
    tensors: values of each checkpoint that was compared.
    seconds: of it all.
  """

  killed: Counter = dataclasses.field(default_factory=Counter)
  told: int = 0
  compared: int = 0
  tensors: int = 0
  seconds: float = 0.0

  def rows(self) -> list[tuple[str, str]]:
    """The table: what was done, how often."""
    return [
        ('killed (SIGKILL), in all', str(self.killed.total())),
        *((f'- {moment}', str(self.killed[moment]))
          for moment in moments.MOMENTS),
        ('told to stop (SIGTERM), saved and ended with exit code 75',
         str(self.told)),
        ('runs ended and compared with an undisturbed one', str(self.compared)),
        ('- identical to the bit: all '
         f'{self.tensors} tensors, metrics and growths', str(self.compared)),
        ('minutes', f'{self.seconds / 60:.1f}')]


def soak(path: str, *, num_kills: int, seed: int,
         say: Callable[[str], None] = print) -> Outcome:
  """Kills runs until there were so many kills; then lets the last one end.

  Args:
    path: an empty directory to work in.
    num_kills: SIGKILLs; SIGTERMs come on top.
    seed: of the moments.
    say: called with a line for each session.

  Raises:
    AssertionError: a run came to something else, or failed.
  """
  start = time.monotonic()
  soaked = _Soak(path, random.Random(seed), say)
  soaked.run_undisturbed()
  outcome = soaked.outcome
  while outcome.killed.total() < num_kills:
    soaked.run_one(num_kills)
  outcome.seconds = time.monotonic() - start
  return outcome


class _Soak:

  def __init__(self, path: str, rng: random.Random, say):
    self._path = path
    self._rng = rng
    self._say = say
    self._processes = ForkedProcesses()
    self._run_dir = ''
    self._num_runs = 0
    self._session_seconds = self._growth_seconds = 0.0
    self.outcome = Outcome()
    tiny_run.write_data(os.path.join(path, 'data'))
    with open(os.path.join(path, 'soak.gin'), 'w') as file:
      file.write(GIN)

  def run_undisturbed(self) -> None:
    """In an interpreter of its own, as a user starts it."""
    self._run_dir = os.path.join(self._path, 'undisturbed')
    done = subprocess.run(
        [sys.executable, '-m', 'official_ext.train', *self._flags()], cwd=_ROOT,
        capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    growths = moments.records(self._run_dir, 'growth.jsonl')
    self._growth_seconds = max(growth['seconds'] for growth in growths)
    self._session_seconds = moments.records(
        self._run_dir, 'metrics.jsonl')[-1]['wall_seconds']

  def run_one(self, num_kills: int) -> None:
    """Sessions of one run, up to its end, and the comparison."""
    self._num_runs += 1
    self._run_dir = os.path.join(self._path, f'run_{self._num_runs}')
    while True:
      disturbs = self.outcome.killed.total() < num_kills
      if self._session(self._rng.choice(_AIMS) if disturbs else 'end'):
        break
    self.outcome.tensors = run_comparison.assert_same(
        self._run_dir, os.path.join(self._path, 'undisturbed'))
    self.outcome.compared += 1
    self._say(f'run {self._num_runs} is identical to the undisturbed one')

  def _session(self, aim: str) -> bool:
    """Starts the command and disturbs it; returns whether the run is done."""
    start_ns, start_step = time.time_ns(), moments.newest_step(self._run_dir)
    log_file = os.path.join(self._path, f'run_{self._num_runs}.log')
    process = self._processes.start(
        log_file, _train, ['train', *self._flags()])
    self._wait(aim, process)
    if aim != 'end' and process.is_alive():
      os.kill(process.pid, signal.SIGTERM if aim == 'told' else signal.SIGKILL)
    process.join()
    told = aim == 'told' and process.exitcode == _STOPPED_EXIT_CODE
    killed = process.exitcode == -signal.SIGKILL
    # A signal before the command listens to it ends it, as any other program.
    early = aim == 'told' and process.exitcode == -signal.SIGTERM
    with open(log_file) as log:
      assert told or killed or early or not process.exitcode, log.read()[-2000:]
    what = 'told to stop' if told else 'done'
    if killed:
      what = moments.moment_of(self._run_dir, start_ns, start_step)
      self.outcome.killed[what] += 1
    self.outcome.told += told
    self._say(f'run {self._num_runs}, from step {start_step}, {aim}: {what}; '
              f'{self.outcome.killed.total()} kills')
    return not process.exitcode

  def _wait(self, aim: str, process) -> None:
    """Returns when the moment has come, or the process has ended."""
    window = 0.0
    if aim in ('anywhere', 'told'):
      window = self._session_seconds
    elif aim == 'saving':
      for _ in range(self._rng.randint(1, 4)):
        if not moments.wait_for_saving(self._run_dir, process.is_alive):
          return
      window = 0.02
    elif aim == 'growing':
      if moments.wait_for_growth(self._run_dir, process.is_alive):
        window = self._growth_seconds
    elif aim == 'grown':
      moments.wait_for_growth_record(self._run_dir, process.is_alive)
    else:
      return
    process.join(timeout=self._rng.uniform(0, window))

  def _flags(self) -> list[str]:
    return [f'--gin_file={self._path}/soak.gin', f'--data_dir={self._path}/data',
            f'--model_dir={self._run_dir}']


def _train(argv: list[str]) -> None:
  # Here, because flags belong to the process that parses them.
  from official_ext import train
  from official_ext.command import run_command
  run_command(train.main, argv=argv)
