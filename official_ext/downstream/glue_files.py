"""Reads GLUE's TSV files, and finds everything that is wrong with them."""

from collections.abc import Sequence
import dataclasses
import os

import numpy as np
import tensorflow as tf

from official_ext.data.stored_file import file_sha256
from official_ext.data.stored_file import is_remote
from official_ext.data.stored_file import read_bytes
from official_ext.downstream.file_mistakes import FileMistakes
from official_ext.downstream.finetuned_model import REGRESSION
from official_ext.downstream.glue_tasks import GlueTask
from official_ext.downstream.glue_tasks import MAX_SCORE
from official_ext.downstream.glue_tasks import MIN_SCORE
from official_ext.downstream.glue_tasks import TestFile


@dataclasses.dataclass
class GlueExamples:
  """The examples of one file, in its order.

  Attributes:
    texts: first texts.
    second_texts: as many; None for single sentences.
    labels: int32 class indices or float32 scores `[examples]`; None in a test
      file.
    indices: numbers that a submission repeats; empty where there are labels.
    skipped_lines: broken lines that were left out.
  """

  texts: list[str] = dataclasses.field(default_factory=list)
  second_texts: list[str] | None = None
  labels: np.ndarray | None = None
  indices: list[str] = dataclasses.field(default_factory=list)
  skipped_lines: int = 0


@dataclasses.dataclass
class GlueFiles:
  """The files of one task.

  Attributes:
    task: which one.
    train: its training examples.
    dev: split to examples.
    test: name of a submission's file to examples; only what there is.
    sha256: of each training and development file, by its name.
    test_sha256: of each test file.
  """

  task: GlueTask
  train: GlueExamples
  dev: dict[str, GlueExamples]
  test: dict[str, GlueExamples]
  sha256: dict[str, str]
  test_sha256: dict[str, str]


def read_glue_files(task: GlueTask, task_dir: str, mistakes: list[str]
                    ) -> GlueFiles:
  """Reads all files of a task that are there.

  Test files may be missing, the others may not.

  Args:
    task: which one.
    task_dir: the task's folder.
    mistakes: gets a line for everything that is wrong: which file, which line,
      what was expected. What is returned is whole only if there is none.
  """
  paths, test_paths = [], []

  def labelled(names: Sequence[str]) -> GlueExamples:
    candidates = [os.path.join(task_dir, name) for name in names]
    path = next(filter(tf.io.gfile.exists, candidates), None)
    if path is None:
      mistakes.append(
          f'{candidates[0]} is missing; give --task_dir the '
          f'folder with the files of {task.title} as GLUE distributes them')
      return GlueExamples()
    paths.append(path)
    return _read(path, task, None, mistakes)

  def unlabelled(file: TestFile) -> GlueExamples | None:
    path = os.path.join(task_dir, file.path)
    if file.path.startswith('../') and is_remote(task_dir):
      # Object stores know no parent folders.
      path = os.path.join(
          os.path.dirname(task_dir.rstrip('/')), file.path[len('../'):])
    if not tf.io.gfile.exists(path):
      return None
    test_paths.append(path)
    return _read(path, task, file, mistakes)

  return GlueFiles(
      task=task, train=labelled(task.train_files),
      dev={split: labelled(names) for split, names in task.dev_files.items()},
      test={name: examples for name, file in task.test_files.items()
            if (examples := unlabelled(file)) is not None},
      sha256=_sha256(paths), test_sha256=_sha256(test_paths))


def _sha256(paths: Sequence[str]) -> dict[str, str]:
  return {os.path.basename(path): file_sha256(path) for path in paths}


def _read(path: str, task: GlueTask, test: TestFile | None,
          mistakes: list[str]) -> GlueExamples:
  """Reads one file; `test` says which columns it has if it has no labels."""
  found = FileMistakes(path)
  lines = _decoded_lines(path, found)
  first_line = 1
  if test is None and task.header is not None:
    header = list(task.header)
  else:
    header = lines[0].split('\t') if lines else []
    lines, first_line = lines[1:], 2
  texts = list(test.columns if test else task.text_columns)
  value = test.index if test else task.label_column
  missing = [name for name in (*texts, value) if name not in header]
  if missing:
    found.add(1, f'the header has no {", ".join(map(repr, missing))} (it is '
              f'{", ".join(map(repr, header[:12])) or "empty"}); expected '
              f"{task.title}'s own file, columns separated by tabs")
    mistakes += found.lines()
    return GlueExamples()
  columns = [header.index(name) for name in texts]
  value_column = header.index(value)
  examples = GlueExamples(second_texts=[] if len(texts) == 2 else None)
  values = []
  for number, line in enumerate(lines, first_line):
    fields = line.split('\t')
    if len(fields) != len(header):
      if task.skips_broken_lines and test is None:
        examples.skipped_lines += 1
      else:
        found.add(number, f'{len(fields)} columns; expected {len(header)} '
                  f'separated by tabs ({", ".join(header)})')
      continue
    raw = fields[value_column]
    parsed = raw if test else _label(raw, task, number, found)
    if parsed is None:
      continue
    values.append(parsed)
    examples.texts.append(fields[columns[0]])
    if examples.second_texts is not None:
      examples.second_texts.append(fields[columns[1]])
  if not values and not found.count:
    found.add(first_line, 'no examples; expected at least one line of them')
  if test:
    examples.indices = values
  else:
    examples.labels = np.array(
        values, np.float32 if task.kind == REGRESSION else np.int32)
  mistakes += found.lines()
  return examples


def _label(raw: str, task: GlueTask, number: int, found: FileMistakes
           ) -> int | float | None:
  """A class index or a score; None, and a mistake, if it is neither."""
  if task.kind == REGRESSION:
    try:
      score = float(raw)
    except ValueError:
      score = float('nan')
    if MIN_SCORE <= score <= MAX_SCORE:
      return score
    found.add(number, f'{task.label_column} is {raw!r}; expected a number from '
              f'{MIN_SCORE:g} to {MAX_SCORE:g}')
    return None
  if raw in task.label_names:
    return task.label_names.index(raw)
  found.add(number, f'{task.label_column} is {raw!r}; expected one of '
            f'{", ".join(task.label_names)}')
  return None


def _decoded_lines(path: str, found: FileMistakes) -> list[str]:
  """Lines of a UTF-8 file, without their ends and a byte order mark."""
  raw_lines = read_bytes(path).removeprefix(b'\xef\xbb\xbf').split(b'\n')
  if raw_lines and not raw_lines[-1]:
    raw_lines.pop()
  lines = []
  for number, raw in enumerate(raw_lines, 1):
    try:
      lines.append(raw.decode('utf-8').removesuffix('\r'))
    except UnicodeDecodeError as error:
      found.add(number, f'not UTF-8 (byte {error.start} of the line); expected '
                'UTF-8 text')
      lines.append(raw.decode('utf-8', 'replace').removesuffix('\r'))
  return lines
