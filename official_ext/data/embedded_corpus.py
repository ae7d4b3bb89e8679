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
    Its description for the manifest: documents, bytes, SHA-256, and what was
    left out because it was repeated.

  Raises:
    ValueError: if there is no prose at all.
  """
  root = root or _site_packages()
  paths = python_files(root)
  tasks = [paths[i:i + _FILES_A_TASK]
           for i in range(0, len(paths), _FILES_A_TASK)]
  seen = set()
  duplicates = {'paragraphs': 0, 'bytes': 0}
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
          else:
            duplicates['paragraphs'] += 1
            duplicates['bytes'] += len(paragraph)
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
          'sha256': content.hexdigest(), 'duplicates': duplicates}


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


_FENCE = re.compile(r'^\s*(?:```|~~~)')
_DOCTEST = re.compile(r'^\s*(?:>>>|In \[|\$ |# )')
_DIRECTIVE = re.compile(r'^\s*\.\. ')
_UNDERLINE = re.compile(r'^\s*[-=~^"#*+_.`:\s]{3,}$')
_TABLE = re.compile(r'^\s*(?:[|+\u2500-\u257f]|={2,} )')
_BULLET = re.compile(r'^\s*(?:[-*+\u2022]|\(?\d{1,2}[.)]|\[\d+\])\s+')
# A row of a table of parameters; what follows it is prose again.
# "name: text", "name (type): text", ":param type name: text", "@param name:".
_FIELD = re.compile(
    r'^\s*(?:[:@]\w[^:]*:|`*\*{0,2}\w[\w.]*`*(?:,\s*`*\*{0,2}\w[\w.]*`*)*'
    r'\s*(?:\([^()]*(?:\([^()]*\))?[^()]*\))?:)(?:\s+|$)')
# "name : type", numpy's way.
_TYPED_NAME = re.compile(r'^\s*[`*\w.,\s]{1,60}\s:(?:\s|$)')
_MARKUP = re.compile(
    r':\w+(?::\w+)?:`~?([^`<]*?)(?:\s*<[^`]*>)?`'  # :class:`~a.B`
    r'|`+([^`]*)`+'
    r'|\[([^\]]+)\]\([^)]*\)'  # [text](link)
    r'|\*\*([^*]+)\*\*')
_LINK = re.compile(r'<?\bhttps?://\S+')
_CODE = re.compile(r'[{}\\|<>=@;]|->|[+*/]=|\w\(\S')
_WORD = re.compile(r"^[(\"'\u201c]?[A-Za-z][a-z]*(?:['\u2019/-][A-Za-z]?[a-z]*)*[.,;:!?)\"'\u201d]*$")

_MIN_WORDS = 6


def prose(docstring: str) -> list[str]:
  """The paragraphs of a docstring that read as prose, each on one line.

  Simple rules: doctests, code blocks, directives, headings and tables go; of a
  table of parameters the descriptions stay; markup becomes plain text; what is
  left stays if it has six words of which three quarters are plain (all but one
  in ten, if something in it looks like code).

  Args:
    docstring: with its indentation removed (`inspect.cleandoc`).
  """
  texts = (_plain_text(lines) for lines in _paragraphs(docstring))
  return [text for text in texts if text is not None]


def _paragraphs(docstring: str):
  """Yields the lines of each paragraph, list item or description."""
  paragraph = []
  in_fence = in_doctest = False
  block_indent = None  # Of the line that a code block or directive hangs on.
  for line in docstring.split('\n'):
    stripped = line.strip()
    indent = len(line) - len(line.lstrip())
    if _FENCE.match(line):
      in_fence = not in_fence
      stripped = ''
    if not stripped or in_fence:
      in_doctest = False
      if paragraph:
        yield paragraph
        paragraph = []
      continue
    if block_indent is not None:
      if indent > block_indent:
        continue
      block_indent = None
    if in_doctest or _DOCTEST.match(line):
      in_doctest = True
      continue
    is_directive = _DIRECTIVE.match(line)
    if is_directive or stripped.endswith('::'):
      block_indent = indent
    if is_directive or _TABLE.match(line) or _UNDERLINE.match(line):
      paragraph = []  # A line with an underline is a heading.
      continue
    head = _BULLET.match(line) or _TYPED_NAME.match(line) or _FIELD.match(line)
    if head:
      if paragraph:
        yield paragraph
      paragraph = []
      if not _TYPED_NAME.match(line):
        stripped = line[head.end():].strip()
        field = _FIELD.match(stripped)
        stripped = stripped[field.end():] if field else stripped
        if stripped:
          paragraph = [stripped]
    else:
      paragraph.append(stripped)
  if paragraph:
    yield paragraph


def _plain_text(lines: Sequence[str]) -> str | None:
  """The paragraph as one line of plain text; None if it is not prose."""
  text = _MARKUP.sub(
      lambda m: next(g for g in m.groups() if g is not None), ' '.join(lines))
  words = _LINK.sub('', text).split()
  if len(words) < _MIN_WORDS:
    return None
  plain = sum(1 for word in words if _WORD.match(word))
  text = ' '.join(words)
  if plain < (0.9 if _CODE.search(text) else 0.75) * len(words):
    return None
  return text
