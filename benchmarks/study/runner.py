"""Runs the study: several single-threaded trainings at a time, resumable.

`train` resumes by itself, so all that the runner has to know is which runs are
in the results. It imports no TensorFlow until a run has ended.
"""

from collections.abc import Callable, Sequence
import ctypes
import dataclasses
import fcntl
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from benchmarks.study import arms as arms_lib
from benchmarks.study import record
from benchmarks.study import results
from benchmarks.study.arms import Arm
from official_ext.analysis import flops
from official_ext.configuration import load_config
from official_ext.training.run_config import PretrainConfig

_POLL_SECONDS = 1.0
_REPORT_SECONDS = 300.0
_LOG_LINES = 5
# One thread for each run: two of these use two cores better than one run does.
ONE_THREAD = {
    'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1',
    'OMP_NUM_THREADS': '1'}


@dataclasses.dataclass(frozen=True)
class Run:
  """A run of the study.

  Attributes:
    arm: the arm.
    seed: the seed.
    config: what is trained.
    directory: the run directory.
    flops: training FLOPs of the whole run.
  """

  arm: Arm
  seed: int
  config: PretrainConfig
  directory: pathlib.Path
  flops: float

  def __str__(self) -> str:
    return f'{self.arm.name} seed {self.seed}'

  @property
  def log_file(self) -> pathlib.Path:
    return self.directory.with_suffix('.log')

  @property
  def settings_file(self) -> pathlib.Path:
    """What the run directory was begun with."""
    return self.directory.with_suffix('.settings.json')

  def is_in_use(self) -> bool:
    """Whether a training holds the run directory, see `training/run_lock.py`."""
    try:
      with open(self.directory / 'run.lock', 'rb') as lock:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
      return False
    except BlockingIOError:
      return True
    return False

  def step(self) -> int:
    """The newest step in the metrics, 0 if there are none."""
    try:
      lines = (self.directory / 'metrics.jsonl').read_bytes().splitlines()
      return json.loads(lines[-1])['step']
    except (OSError, ValueError, IndexError, KeyError):
      return 0


class Study:
  """The runs of a study in a working directory.

  Args:
    work_dir: where data, run directories and logs go.
    results_path: the results file.
    patterns: names of arms, with * and ?; none means all.
    seeds: only these; None means all.
  """

  def __init__(self, work_dir: pathlib.Path, results_path: pathlib.Path,
               patterns: Sequence[str] = (), seeds: Sequence[int] | None = None):
    self.work_dir = work_dir
    self.results_path = results_path
    self.runs = [
        self._run(arm, seed) for arm, seed in arms_lib.runs()
        if (seeds is None or seed in seeds) and (
            not patterns or any(
                pathlib.PurePath(arm.name).match(pattern)
                for pattern in patterns))]
    if not self.runs:
      raise ValueError(
          f'no arm matches {", ".join(patterns)}; the arms are: '
          + ', '.join(arms_lib.ARMS))

  def data_dir(self, name: str) -> pathlib.Path:
    return self.work_dir / 'data' / name

  def parameters(self, arm: Arm, seed: int) -> list[str]:
    """The settings that an arm's gin file leaves open."""
    short = ([f'SHORT_DATA_DIR = {str(self.data_dir(arm.short_data))!r}']
             if arm.short_data else [])
    return [f'SEED = {seed}', *short]

  def _run(self, arm: Arm, seed: int) -> Run:
    config, _ = load_config(
        [arm.gin_file], self.parameters(arm, seed), require_directories=False)
    full = config.architecture.max_positions
    total = sum(
        stage.num_steps * flops.stage_train_flops(
            stage, config.num_predictions * stage.architecture.sequence_length
            // full, config.batch_size,
            has_next_sentence=config.use_next_sentence)
        for stage in config.resolve())
    return Run(arm, seed, config,
               self.work_dir / 'runs' / arm.name / f'seed-{seed}', total)

  def prepare(self, text: str | None) -> None:
    """Makes the data that is missing.

    Args:
      text: what to make it from; None is enough if all is there.

    Raises:
      ValueError: data is missing, and there is no text.
      subprocess.CalledProcessError: `prepare` failed; its message is printed.
    """
    needed = {name for run in self.runs
              for name in (run.arm.data, run.arm.short_data) if name}
    needed |= {arms_lib.DATA_SETS[name].vocabulary_of for name in needed} - {None}
    missing = [name for name in arms_lib.DATA_SETS if name in needed
               and not (self.data_dir(name) / 'manifest.json').exists()]
    if missing and text is None:
      raise ValueError(
          f'{self.work_dir} has no data for {", ".join(missing)}; give --text '
          'with the text to prepare it from')
    for name in missing:
      data_set = arms_lib.DATA_SETS[name]
      vocabulary = ([] if data_set.vocabulary_of is None else [
          f'--vocab_file={self.data_dir(data_set.vocabulary_of) / "vocab.txt"}'])
      subprocess.run(
          [sys.executable, '-m', 'official_ext.prepare', f'--input={text}',
           f'--output_dir={self.data_dir(name)}', *data_set.flags, *vocabulary],
          check=True)

  def data_hash(self, arm: Arm) -> str:
    """A hash of the records and the vocabulary that an arm reads."""
    content = []
    for name in (arm.data, arm.short_data):
      if name:
        manifest = json.loads(
            (self.data_dir(name) / 'manifest.json').read_text(encoding='utf-8'))
        content.append([manifest['vocab_sha256'], {
            split: [shard['sha256'] for shard in part['shards']]
            for split, part in manifest['splits'].items()}])
    return results.digest(content)

  def unfinished(self, rerun: Sequence[str] = ()) -> list[Run]:
    """The runs that are not in the results.

    Args:
      rerun: arms whose results are to be replaced if they differ.

    Raises:
      results.ResultsError: a result, or a run directory that was begun, is of
        other settings or other data.
    """
    done = self._done()
    left, wrong = [], []
    for run in self.runs:
      finished = done.get((run.arm.name, run.seed))
      earlier = finished or _begun_with(run)
      difference = earlier and self._difference(run, earlier)
      if difference and run.arm.name not in rerun:
        wrong.append(f'{run}: {difference}')
      elif difference or finished is None:
        left.append(run)
    if wrong:
      raise results.ResultsError(
          f'{self.results_path} or {self.work_dir} has runs of other settings '
          f'({"; ".join(wrong)}); run these arms again with --rerun ARM, or use '
          'the study that they are of')
    return left

  def begin(self, run: Run) -> None:
    """Makes sure that a run does not go on from one of other settings.

    `train` itself goes on after a change of the learning rate, and is done at
    once if the earlier run was finished. A directory of other settings is moved
    aside, and kept.
    """
    earlier = (_begun_with(run)
               or self._done().get((run.arm.name, run.seed)))
    if run.directory.exists() and earlier and self._difference(run, earlier):
      aside = next(
          path for count in itertools.count(1)
          if not (path := run.directory.with_name(
              f'{run.directory.name}.replaced-{count}')).exists())
      run.directory.rename(aside)
    run.directory.parent.mkdir(parents=True, exist_ok=True)
    run.settings_file.write_text(json.dumps(
        {'settings': record.settings(run.config),
         'data': self.data_hash(run.arm)}), encoding='utf-8')

  def _done(self) -> dict[tuple[str, int], results.Record]:
    return {(run['arm'], run['seed']): run
            for run in results.read(self.results_path)}

  def _difference(self, run: Run, earlier: results.Record) -> str | None:
    return results.difference(
        earlier, record.settings(run.config), self.data_hash(run.arm))

  def train_command(self, run: Run) -> list[str]:
    parameters = [part for setting in self.parameters(run.arm, run.seed)
                  for part in ('--gin_params', setting)]
    return [sys.executable, '-m', 'official_ext.train',
            '--gin_file', run.arm.gin_file, *parameters,
            '--data_dir', str(self.data_dir(run.arm.data)),
            '--model_dir', str(run.directory)]


def run_all(study: Study, runs: Sequence[Run], *, num_processes: int,
            niceness: int = 10, say: Callable[[str], None] = print) -> list[Run]:
  """Trains every run, adds each to the results when it ends.

  SIGTERM and Ctrl-C let the trainings save, and then end this; the same command
  goes on from there. If this process is killed, the trainings save and end as
  well (on Linux). A run that another process is training is waited for.

  Args:
    study: where the runs belong.
    runs: in the order in which they are begun.
    num_processes: trainings at a time.
    niceness: added to that of the trainings.
    say: prints a line of progress.

  Returns:
    The runs that failed.

  Raises:
    KeyboardInterrupt: a signal came.
  """
  waiting, active, failed = list(runs), {}, []
  code = record.code_version()
  speed = Speed()
  signals = []
  previous = {number: signal.signal(number, lambda number, _: signals.append(number))
              for number in (signal.SIGTERM, signal.SIGINT)}
  next_report = time.monotonic() + _REPORT_SECONDS
  try:
    while waiting or active:
      for run in [each for each in waiting if not each.is_in_use()]:
        if len(active) == num_processes or signals:
          break
        waiting.remove(run)
        active[_start(study, run, niceness)] = run
      time.sleep(_POLL_SECONDS)
      for process in [each for each in active if each.poll() is not None]:
        run = active.pop(process)
        if process.returncode == 0:
          try:
            entry = record.extract(
                run.arm, run.seed, run.config, run.directory,
                study.data_hash(run.arm), code)
          except ValueError as error:
            failed.append(run)
            say(f'{run} was trained, and cannot be summarised: {error}')
            continue
          results.add(study.results_path, entry)
          speed.add(entry)
          say(f'{run}: held-out loss {entry["final_loss"]:.4f}, accuracy '
              f'{entry["final_accuracy"]:.4f}, {entry["curve"][-1][1]:.3g} FLOPs'
              + speed.time_left([*waiting, *active.values()], num_processes))
        elif not signals:
          failed.append(run)
          say(f'{run} failed with exit code {process.returncode}:\n'
              + _end_of(run.log_file))
      if time.monotonic() > next_report:
        next_report += _REPORT_SECONDS
        say(f'{len(runs) - len(waiting) - len(active)} of {len(runs)} runs done'
            + ''.join(f'; {run} at step {run.step()} of {run.config.num_steps}'
                      for run in active.values())
            + speed.time_left([*waiting, *active.values()], num_processes))
      if signals:
        raise KeyboardInterrupt
  finally:
    # None is left if all went well.
    for process in active:
      process.send_signal(signal.SIGTERM)
    for process in active:
      process.wait()
    for number, handler in previous.items():
      signal.signal(number, handler)
  return failed


class Speed:
  """FLOPs a second of finished runs."""

  def __init__(self):
    self._flops = self._seconds = 0.0

  def add(self, entry: results.Record) -> None:
    _, flops_done, seconds, *_ = entry['curve'][-1]
    self._flops += flops_done
    self._seconds += seconds

  def time_left(self, runs: Sequence[Run], num_processes: int) -> str:
    """What is left, in hours of undisturbed cores; empty if it is not known."""
    if not self._seconds or not runs:
      return ''
    left = sum(run.flops * (1 - run.step() / run.config.num_steps)
               for run in runs)
    hours = left / (self._flops / self._seconds) / num_processes / 3600
    return f'; {len(runs)} runs and about {hours:.1f} h left'


def _begun_with(run: Run) -> results.Record | None:
  """The settings and the data that a run directory was begun with."""
  try:
    return json.loads(run.settings_file.read_text(encoding='utf-8'))
  except (FileNotFoundError, json.JSONDecodeError):
    return None


def _start(study: Study, run: Run, niceness: int) -> subprocess.Popen:
  study.begin(run)
  with open(run.log_file, 'ab') as log:
    # A session of its own: Ctrl-C comes to the runner, which hands it on.
    return subprocess.Popen(
        ['nice', '-n', str(niceness), *study.train_command(run)], stdout=log,
        stderr=subprocess.STDOUT, env=os.environ | ONE_THREAD,
        start_new_session=True, preexec_fn=_end_with_the_runner)


def _end_with_the_runner() -> None:
  """Asks the kernel for SIGTERM when the process that started this one dies."""
  if sys.platform == 'linux':
    pr_set_pdeathsig = 1  # <sys/prctl.h>
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _end_of(log_file: pathlib.Path) -> str:
  lines = log_file.read_text(errors='replace').splitlines()[-_LOG_LINES:]
  return '\n'.join(f'  {line}' for line in lines)
