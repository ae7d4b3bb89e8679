"""The embedded corpus: prose of the docstrings of the installed packages.

Real technical English that every installation has, so that a first run needs
no download. Files are parsed, never imported.
"""

import ast
import concurrent.futures
import gc
import hashlib
import inspect
import multiprocessing
import os
import re
import sysconfig
from typing import Any, Sequence
import warnings

from official_ext.data.progress import Progress

_FILES_A_TASK = 64
_DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Generated files and tests hold little prose.
_SKIPPED_FOLDERS = frozenset(
    ['__pycache__', 'test', 'tests', 'testing', '_vendor', 'site-packages'])


def python_files(root: str | None = None) -> list[str]:
  """Python files of the installed packages, relative to `root`.

  Ordered by a hash of the path, so that neighbours come from different
  packages and any beginning of the list is a fair sample.
  """
  root = root or _site_packages()
  paths = []
  for folder, folders, names in os.walk(root):
    folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
    paths.extend(
        os.path.relpath(os.path.join(folder, name), root) for name in names
        if name.endswith('.py') and not name.endswith('_test.py'))
  return sorted(paths, key=lambda path: (_digest(path), path))


def _site_packages() -> str:
  return sysconfig.get_paths()['purelib']


def _digest(text: str) -> bytes:
  return hashlib.blake2b(text.encode('utf-8', 'replace'), digest_size=8).digest()


def fingerprint(root: str | None = None) -> str:
  """Changes when the Python files of the installed packages do."""
  root = root or _site_packages()
  summary = hashlib.sha256()
  for path in python_files(root):
    size = os.path.getsize(os.path.join(root, path))
    summary.update(f'{path}:{size}\n'.encode('utf-8', 'replace'))
  return summary.hexdigest()


def write_corpus(output_path: str, num_workers: int,
                 max_bytes: int | None = None,
                 root: str | None = None) -> dict[str, Any]:
  """Writes the corpus: a module a document, a paragraph a line.

  Args:
    output_path: the text file to write.
    num_workers: processes that parse.
    max_bytes: stop after about so many bytes; None means all.
    root: the folder of packages; those of this Python by default.

  Returns:
    Its description for the manifest: documents, bytes, SHA-256.

  Raises:
    ValueError: if there is no prose at all.
  """
  root = root or _site_packages()
  paths = python_files(root)
  tasks = [paths[i:i + _FILES_A_TASK]
           for i in range(0, len(paths), _FILES_A_TASK)]
  seen = set()
  documents = num_bytes = files_done = 0
  content = hashlib.sha256()
  progress = Progress('reading docstrings', len(paths), 'files')
  with concurrent.futures.ProcessPoolExecutor(
      num_workers, multiprocessing.get_context('spawn')) as executor, open(
          output_path, 'wb') as file:
    for task, of_task in zip(tasks, executor.map(
        _paragraphs_of_files, [root] * len(tasks), tasks)):
      for paragraphs in of_task:
        lines = []
        for paragraph in paragraphs:
          digest = _digest(paragraph)
          if digest not in seen:
            seen.add(digest)
            lines.append(paragraph)
        if not lines:
          continue
        data = ('\n'.join(lines) + '\n\n').encode('utf-8', 'replace')
        file.write(data)
        content.update(data)
        documents += 1
        num_bytes += len(data)
      files_done += len(task)
      progress.advance_to(files_done)
      if max_bytes is not None and num_bytes >= max_bytes:
        executor.shutdown(cancel_futures=True)
        break
  progress.close()
  if not documents:
    raise ValueError(
        f'no docstrings found under {root}; give --input with text of your own')
  return {'documents': documents, 'bytes': num_bytes,
          'sha256': content.hexdigest()}


def _paragraphs_of_files(root: str, paths: Sequence[str]) -> list[list[str]]:
  # The parser allocates so many objects that collecting garbage meanwhile
  # takes three quarters of the time; syntax trees hold no cycles.
  gc.disable()
  try:
    return [paragraphs_of_file(os.path.join(root, path)) for path in paths]
  finally:
    gc.enable()


def paragraphs_of_file(path: str) -> list[str]:
  """The prose paragraphs of a file's docstrings, in order."""
  try:
    with open(path, 'rb') as file:
      source = file.read()
    if b'"""' not in source and b"'''" not in source:
      return []
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # Invalid escapes in others' code.
      tree = ast.parse(source)
  # Not our files: one that cannot be parsed gives nothing.
  except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
    return []
  paragraphs = []
  _visit(tree, paragraphs)
  return paragraphs


def _visit(node: ast.AST, paragraphs: list[str]) -> None:
  docstring = ast.get_docstring(node, clean=False)
  if docstring:
    paragraphs.extend(prose(inspect.cleandoc(docstring)))
  for child in node.body:
    if isinstance(child, _DEFINITIONS):
      _visit(child, paragraphs)


_PARAGRAPH_END = re.compile(r'\n\s*\n')
_MARKUP = re.compile(
    r':\w+(?::\w+)?:`~?([^`<]*?)(?:\s*<[^`]*>)?`'  # :class:`~a.B`
    r'|`+([^`]*)`+'
    r'|\[([^\]]+)\]\([^)]*\)'  # [text](link)
    r'|\*\*([^*]+)\*\*')
_LINK = re.compile(r'<?\bhttps?://\S+')
# A field of a table of parameters: "name (type): text", "name : type",
# ":param name: text", "@param".
_FIELD = re.compile(
    r'^(?:[:@]\w+[^:]*:|[-*]?\s*`*\*{0,2}[\w.,* ]{1,40}`*\s*(?:\([^)]*\))?\s*:(?:\s|$))')
_UNDERLINE = re.compile(r'^[-=~^"#*+_.\s]{3,}$')
_CODE = re.compile(
    r'>>>|^\.\.\s|::$|[{}\\|<>]|==|[+*/]=|->|\w\(\w*\)|\w_\w|^\s*(?:import|from|def|class|return|@|\$|%)\s*\w')
_WORD = re.compile(r"^[A-Za-z][a-z]*(?:['\u2019-][a-z]+)*[.,;:!?)]*$")
_SENTENCE = re.compile(r'^[A-Z"\'(].*[.!?:)"\']$', re.DOTALL)


def prose(docstring: str) -> list[str]:
  """The paragraphs of a docstring that read as prose, each on one line.

  Simple rules: indented blocks, doctests, fenced code, tables and lists of
  parameters go; markup becomes plain text; a paragraph stays if it begins and
  ends as a sentence does, has eight words, and four fifths of its words are
  plain.
  """
  kept = []
  in_fence = False
  for paragraph in _PARAGRAPH_END.split(docstring):
    if paragraph.count('```') % 2:
      in_fence = not in_fence
      continue
    if in_fence or '```' in paragraph:
      continue
    text = _plain_text(paragraph)
    if text is not None:
      kept.append(text)
  return kept


def _plain_text(paragraph: str) -> str | None:
  lines = paragraph.strip('\n').split('\n')
  first = lines[0]
  if len(first) - len(first.lstrip()) >= 4 or _FIELD.match(first.strip()):
    return None
  if any(line.lstrip().startswith(('>>>', '...', '|', '+-', '$ ', '..'))
         or _UNDERLINE.match(line) for line in lines):
    return None
  text = ' '.join(' '.join(lines).split())
  text = _LINK.sub('', text)
  text = _MARKUP.sub(lambda m: next(g for g in m.groups() if g is not None), text)
  text = ' '.join(text.split())
  words = text.split()
  if len(words) < 8 or not _SENTENCE.match(text):
    return None
  plain = sum(1 for word in words if _WORD.match(word))
  if plain < 0.8 * len(words) or _CODE.search(text) and plain < 0.9 * len(words):
    return None
  return text
