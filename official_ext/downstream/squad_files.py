"""Reads SQuAD's JSON files, and finds everything that is wrong with them.

P. Rajpurkar et al., *SQuAD: 100,000+ Questions for Machine Comprehension of
Text*, EMNLP 2016, and *Know What You Don't Know: Unanswerable Questions for
SQuAD*, ACL 2018.
"""

from collections.abc import Iterator
import dataclasses
import hashlib
import json
import os
from typing import Any

import tensorflow as tf

from official_ext.data.stored_file import read_bytes
from official_ext.downstream.file_mistakes import FileMistakes

_VERSIONS = {'squad11': '1.1', 'squad20': '2.0'}


@dataclasses.dataclass
class SquadFiles:
  """The files of one SQuAD.

  Attributes:
    task: 'squad11' or 'squad20'.
    train_file: path of the training file.
    dev_file: path of the development file.
    num_training_questions: questions of the training file.
    dev_data: what is under `data` in the development file.
    sha256: of each file that was read, by its name.
  """

  task: str
  train_file: str
  dev_file: str
  num_training_questions: int
  dev_data: list[dict[str, Any]]
  sha256: dict[str, str]

  @property
  def has_unanswerable(self) -> bool:
    return self.task == 'squad20'


def read_squad_files(task: str, task_dir: str, mistakes: list[str]
                     ) -> SquadFiles:
  """Reads and checks `train-v1.1.json` and `dev-v1.1.json`, or those of 2.0.

  Args:
    task: 'squad11' or 'squad20'.
    task_dir: the folder with both files.
    mistakes: gets a line for everything that is wrong: which file, where in it,
      what was expected.
  """
  version = _VERSIONS[task]
  files = SquadFiles(
      task, os.path.join(task_dir, f'train-v{version}.json'),
      os.path.join(task_dir, f'dev-v{version}.json'), 0, [], {})
  for path in (files.train_file, files.dev_file):
    is_training = path == files.train_file
    if not tf.io.gfile.exists(path):
      mistakes.append(
          f'{path} is missing; give --task_dir the folder with the official '
          f'files of SQuAD {version}')
      continue
    content = read_bytes(path)
    files.sha256[os.path.basename(path)] = hashlib.sha256(content).hexdigest()
    try:
      data = json.loads(content.decode('utf-8'))
    except ValueError as error:
      mistakes.append(f'{path}: not JSON in UTF-8 ({error})')
      continue
    found = FileMistakes(path)
    num_questions = _check(data, files.has_unanswerable, is_training, found)
    mistakes += found.lines()
    if is_training:
      files.num_training_questions = num_questions
    elif not found.count:
      files.dev_data = data['data']
  return files


def _check(content: Any, has_unanswerable: bool, is_training: bool,
           found: FileMistakes) -> int:
  """Adds what is wrong; returns the number of questions."""
  if not isinstance(content, dict) or not isinstance(content.get('data'), list):
    found.add('', "no list 'data'; expected the official layout: "
              'data[].paragraphs[].{context, qas[].{id, question, answers}}')
    return 0
  seen, has_answer_in_place = set(), False
  for place, context, question in _questions(content['data'], found):
    problem = _question_problem(
        context, question, has_unanswerable, is_training)
    if problem:
      found.add(place, problem)
    elif question['id'] in seen:
      found.add(place, f'the id {question["id"]!r} is there twice; expected '
                'every question once')
    else:
      seen.add(question['id'])
      has_answer_in_place |= any(
          _is_in_place(context, answer) for answer in question['answers'])
  if not seen and not found.count:
    found.add('data', 'no question; expected at least one')
  elif is_training and not has_answer_in_place and not found.count:
    found.add('data', "no answer's text stands at its answer_start in the "
              'context; expected places in characters, from 0')
  return len(seen)


def _is_in_place(context: str, answer: Any) -> bool:
  start, text = answer['answer_start'], answer['text']
  return context[start:start + len(text)].split() == text.split()


def _questions(data: list[Any], found: FileMistakes
               ) -> Iterator[tuple[str, str, Any]]:
  """Yields (place, context, question) of what is laid out as it should be."""
  for number, article in enumerate(data):
    place = f'data[{number}]'
    paragraphs = article.get('paragraphs') if isinstance(article, dict) else None
    if not isinstance(paragraphs, list):
      found.add(place, "no list 'paragraphs'")
      continue
    for index, paragraph in enumerate(paragraphs):
      inner = f'{place}.paragraphs[{index}]'
      if not isinstance(paragraph, dict):
        found.add(inner, 'expected an object with context and qas')
        continue
      context, questions = paragraph.get('context'), paragraph.get('qas')
      if not isinstance(context, str) or not context.strip():
        found.add(inner, "no text 'context'")
      elif not isinstance(questions, list):
        found.add(inner, "no list 'qas'")
      else:
        for position, question in enumerate(questions):
          yield f'{inner}.qas[{position}]', context, question


def _question_problem(context: str, question: Any, has_unanswerable: bool,
                      is_training: bool) -> str | None:
  if not isinstance(question, dict):
    return 'expected an object with id, question and answers'
  for name in ('id', 'question'):
    if not isinstance(question.get(name), str):
      return f'no text {name!r}'
  answers = question.get('answers')
  if not isinstance(answers, list):
    return "no list 'answers'"
  is_impossible = question.get('is_impossible', False)
  if has_unanswerable and not isinstance(
      question.get('is_impossible'), bool):
    return "no truth value 'is_impossible'; expected a file of SQuAD 2.0"
  if is_impossible and not has_unanswerable:
    return 'is_impossible is true; expected a file of SQuAD 1.1 (or --task squad20)'
  if not is_impossible and (
      not answers or is_training and len(answers) != 1):
    wanted = 'exactly one answer' if is_training else 'at least one answer'
    return f'{len(answers)} answers; expected {wanted}'
  for answer in answers:
    text = answer.get('text') if isinstance(answer, dict) else None
    start = answer.get('answer_start') if isinstance(answer, dict) else None
    if not isinstance(text, str) or not isinstance(start, int) or not text:
      return "an answer without 'text' and 'answer_start'"
    if not 0 <= start <= len(context) - len(text):
      return (f'answer_start is {start} for {len(text)} characters, but the '
              f'context has {len(context)}; expected a place in the context')
  return None
