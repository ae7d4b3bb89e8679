"""Any text is a configuration or a list of mistakes, and imports nothing."""

import inspect
import pathlib
import sys

import hypothesis
from hypothesis import strategies as st
import pytest

from official_ext.configuration import CONFIGURABLES
from official_ext.configuration import load_config
from official_ext.gin_source import find_file
from official_ext.gin_source import read_source
from official_ext.mistakes import ConfigurationError
from official_ext.mistakes import one_line
from tests.fuzz.cases import counted

_FILES = ['experiments/compound_grow_tiny.gin']
_TEXT = ''.join(
    pathlib.Path(find_file(name)).read_text(encoding='utf-8')
    for name in (*_FILES, 'models/bert_micro.gin', 'runs/tiny.gin'))
_TOKENS = st.sampled_from([
    'train', 'model', 'stage', 'growth_schedule', 'compound_grow', 'mslt', '.',
    '/', '=', ' = ', '@', '%', '(', ')', '()', '[', ']', '{', '}', ':', ',', '\n',
    '\n\n', ' ', '  ', '\t', '#', "'", '"', '"""', '\\', '-', '+', '*', '0', '1',
    '1e9', '3.5', 'NUM_STEPS', 'num_steps', 'num_layers', 'seed', 'stages',
    'None', 'True', 'import ', 'from ', ' as ', 'include ', 'os', 'this',
    "'models/bert_nano.gin'", "'x.gin'", 'gin.REQUIRED', 'gin.macro', '\r', '\0',
    'é', '\u2028', '\x1b[2J', '$', '?', ';', 'lambda', 'b"x"'])
_LITERALS = st.one_of(
    st.integers(), st.floats(), st.text(max_size=5), st.none(), st.booleans(),
    st.lists(st.integers(0, 5), max_size=3)).map(repr)


# A whole configuration is read for each: a third as many as of other cases.
_FEWER = hypothesis.settings(
    max_examples=hypothesis.settings().max_examples // 3)


def _mistakes(files, params):
  """What is wrong; nothing else may come of it."""
  before = set(sys.modules)
  try:
    load_config(files, params, require_directories=False)
    lines = ()
  except ConfigurationError as error:
    lines = error.mistakes
  assert not {'this', 'antigravity'} & (set(sys.modules) - before)
  for line in lines:
    assert line.strip() and '\n' not in line, line
    # What a command prints.
    assert one_line(line).isprintable(), repr(line)
  return lines


@_FEWER
@hypothesis.given(st.lists(_TOKENS, max_size=25).map(''.join))
@counted
def test_any_statements(text):
  _mistakes(_FILES, [text])


@_FEWER
@hypothesis.example('\x1f')  # White space to Python and not to gin.
@hypothesis.given(st.text(max_size=60))
@counted
def test_any_text(text):
  source = read_source(['gs://x/y.gin'], [], read_text=lambda path: text)
  assert all(line.startswith('gs://x/y.gin:') for line in source.mistakes)
  _mistakes(_FILES, [text])


@_FEWER
@hypothesis.given(
    st.integers(0, len(_TEXT)), st.integers(0, 40),
    st.lists(_TOKENS, max_size=4).map(''.join))
@counted
def test_a_file_with_a_spot_on_it(start, length, spot):
  text = _TEXT[:start] + spot + _TEXT[start + length:]
  _mistakes([], [text])


_PARAMETERS = sorted(
    (name, parameter) for name, target in CONFIGURABLES.items()
    for parameter in inspect.signature(target).parameters)


@_FEWER
@hypothesis.given(st.sampled_from(_PARAMETERS), _LITERALS)
@counted
def test_any_value_of_any_parameter(parameter, literal):
  name = '.'.join(parameter)
  lines = _mistakes(_FILES, [f'{name} = {literal}'])
  if lines and parameter[0] in ('train', 'model', 'compound_grow'):
    assert any(parameter[1] in line for line in lines), lines


@pytest.mark.parametrize('text', [
    'train.seed = %' + 'A' * 5000, '@' * 3000, 'a/' * 3000 + 'b.c = 1',
    'train:\n' + '  seed = 1\n' * 300, '(' * 3000, '"' * 3001, '\\\n' * 300],
    ids=['macro', 'references', 'scopes', 'block', 'brackets', 'quotes', 'lines'])
def test_long_ones(text):
  _mistakes(_FILES, [text])
