"""Fine-tunes finished runs: the small-scale counterpart of Tables 2 and 3.

Two tasks: `brown_prose`, informative or imaginative prose, in the form of SST-2;
and `word_order`, sentences as they are or shuffled, in that of CoLA
(`benchmarks/word_order_task.py`).
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

from benchmarks.study import results
from benchmarks.study import runner

# Each run is fine-tuned with so many seeds.
NUM_SEEDS = 3
_SETTINGS = (
    'NUM_EPOCHS = 3.0', 'LEARNING_RATES = (5e-4,)', 'SEQ_LENGTH = 64',
    f'SEEDS = {tuple(range(NUM_SEEDS))}')


@dataclasses.dataclass(frozen=True)
class Task:
  """A task of fine-tuning.

  Attributes:
    name: in the results.
    glue_task: whose form it has.
    metric: of the development set, among those of the GLUE task.
    directory: its files.
  """

  name: str
  glue_task: str
  metric: str
  directory: pathlib.Path


def make_tasks(work_dir: pathlib.Path, brown_prose: pathlib.Path) -> list[Task]:
  """Both tasks; makes the files of word order if they are missing."""
  word_order = work_dir / 'word_order'
  if not (word_order / 'train.tsv').exists():
    subprocess.run(
        [sys.executable, 'benchmarks/word_order_task.py', '--output_dir',
         str(word_order)], cwd=pathlib.Path(__file__).parents[2], check=True)
  return [Task('brown_prose', 'sst2', 'accuracy', brown_prose),
          Task('word_order', 'cola', 'matthews', word_order)]


def finetune_all(study: runner.Study, tasks: Sequence[Task], *,
                 num_processes: int, say: Callable[[str], None] = print
                 ) -> list[str]:
  """Fine-tunes every finished run of a study; what is done is not done again.

  Args:
    study: its runs need their run directories, and have to be in the results.
    tasks: what to fine-tune on.
    num_processes: fine-tunings at a time, one thread each.
    say: prints a line of progress.

  Returns:
    What failed, a line each.
  """
  done = {(run['arm'], run['seed']): run
          for run in results.read(study.results_path)}
  jobs = []
  for run in study.runs:
    finished = done.get((run.arm.name, run.seed))
    if finished is None or not (run.directory / 'checkpoints').exists():
      continue
    jobs += [(run, task) for task in tasks
             if task.name not in finished.get('finetuning', {})]
  failed = []
  with concurrent.futures.ThreadPoolExecutor(num_processes) as executor:
    futures = {executor.submit(_finetune, study, run, task): (run, task)
               for run, task in jobs}
    for future in concurrent.futures.as_completed(futures):
      run, task = futures[future]
      try:
        scores = future.result()
      except (OSError, ValueError, subprocess.CalledProcessError) as error:
        failed.append(f'{run} on {task.name}: {error}')
        continue
      # Read again: others may have been added meanwhile.
      entry = next(each for each in results.read(study.results_path)
                   if (each['arm'], each['seed']) == (run.arm.name, run.seed))
      entry.setdefault('finetuning', {})[task.name] = scores
      results.add(study.results_path, entry)
      say(f'{run} on {task.name}: '
          + ', '.join(f'{score:.4f}' for score in scores))
  return failed


def _finetune(study: runner.Study, run: runner.Run, task: Task) -> list[float]:
  """The scores of the development set, one for each seed."""
  output_dir = (study.work_dir / 'finetuning' / run.arm.name
                / f'seed-{run.seed}' / task.name)
  output_dir.parent.mkdir(parents=True, exist_ok=True)
  parameters = [part for setting in _SETTINGS
                for part in ('--gin_params', setting)]
  with open(f'{output_dir}.log', 'ab') as log:
    subprocess.run(
        ['nice', '-n', '10', sys.executable, '-m', 'official_ext.finetune',
         '--task', task.glue_task, '--task_dir', str(task.directory),
         '--checkpoint', str(run.directory), '--output_dir', str(output_dir),
         '--gin_file', 'finetune/one_trial.gin', *parameters],
        check=True, stdout=log, stderr=subprocess.STDOUT,
        env=os.environ | runner.ONE_THREAD)
  return read_scores(output_dir, task.metric)


def read_scores(output_dir: pathlib.Path, metric: str) -> list[float]:
  """A metric of each trial of a fine-tuning, by seed.

  Raises:
    ValueError: trials are missing, or diverged.
  """
  found = sorted(output_dir.glob('**/results.json'))
  trials = (json.loads(found[0].read_text())['trials'].values()
            if found else ())
  scores = {trial['seed']: trial['metrics'][metric]
            for trial in trials if metric in trial.get('metrics', {})}
  if sorted(scores) != list(range(NUM_SEEDS)):
    raise ValueError(
        f'{output_dir} has scores of seeds {sorted(scores)}, not of all '
        f'{NUM_SEEDS}; remove it and run this again')
  return [round(scores[seed], 5) for seed in sorted(scores)]
