"""What the README and the other pages say can be done, can be done."""

import pathlib
import re
import textwrap

import numpy as np
import pytest

from official_ext.configuration import load_config

# Under Bazel this file is a link to the one in the repository.
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PAGES = sorted([*_ROOT.glob('*.md'), *_ROOT.glob('docs/*.md')])


def _text(page: pathlib.Path) -> str:
  """The page without its comments."""
  return re.sub(r'<!--.*?-->', '', page.read_text(), flags=re.DOTALL)


def _name(page: pathlib.Path) -> str:
  return page.relative_to(_ROOT).as_posix()


@pytest.mark.parametrize('page', _PAGES, ids=_name)
def test_links_lead_somewhere(page):
  for target in re.findall(r'\]\(([^)]+)\)', _text(page)):
    if not re.match(r'https?:|#', target):
      assert (page.parent / target.split('#')[0]).exists(), target


@pytest.mark.parametrize('page', _PAGES, ids=_name)
def test_commands_exist(page):
  for name in re.findall(r'python -m (official_ext(?:\.\w+)+)', _text(page)):
    assert (_ROOT / f'{name.replace(".", "/")}.py').is_file(), name
  makefile = (_ROOT / 'Makefile').read_text()
  for target in re.findall(r'(?:^    |`)make ([a-z-]+)', _text(page), re.M):
    assert re.search(rf'^{target}:', makefile, re.M), target


@pytest.mark.parametrize('page', _PAGES, ids=_name)
def test_flags_of_commands_exist(page):
  text = _text(page).replace('\\\n', ' ')
  for name, arguments in re.findall(
      r'python -m (official_ext(?:\.\w+)+)([^\n`]*)', text):
    source = (_ROOT / f'{name.replace(".", "/")}.py').read_text()
    defined = re.findall(r"DEFINE_\w+\(\s*'(\w+)'", source)
    arguments = arguments.split('#')[0]
    switches = re.findall(r"DEFINE_bool\(\s*'(\w+)'", source)
    used = re.findall(r'--(\w+)', arguments)
    assert set(used) <= {
        *defined, *(f'no{name}' for name in switches), 'help', 'debug'}, arguments


def test_the_run_of_the_readme_is_one(tmp_path, monkeypatch):
  text = _text(_ROOT / 'README.md')
  (run,) = re.findall(r"((?:^    \S.*\n)*^    FFN_SHARING = .*\n)", text, re.M)
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'my_run.gin').write_text(textwrap.dedent(run))
  config, _ = load_config(['my_run.gin'], require_directories=False)
  # What the command above it prepares is what this run reads.
  prepared = dict(re.findall(r'--(\w+) (\d+)', text))
  assert int(prepared['vocab_size']) == config.architecture.vocab_size
  assert int(prepared['seq_length']) == config.architecture.sequence_length
  assert int(prepared['max_predictions_per_seq']) == config.num_predictions


@pytest.mark.parametrize('page', _PAGES, ids=_name)
def test_gin_files_exist(page):
  for name in re.findall(
      r"((?:models|schedules|runs|experiments)/\w+\.gin)", _text(page)):
    assert (_ROOT / 'gin_configs' / name).is_file(), name


def test_every_room_is_in_the_layout():
  layout = _text(_ROOT / 'README.md').split('## How it is laid out')[1]
  for room in _ROOT.glob('official_ext/*/__init__.py'):
    assert f'{room.parent.name}/' in layout


def test_the_python_example_grows_a_model():
  import tensorflow as tf

  (example,) = re.findall(
      r'```python\n(.*?)```', _text(_ROOT / 'README.md'), re.DOTALL)
  num_steps, batch, vocabulary, length, predictions = 10, 2, 50, 24, 4
  for written, tried in {
      '=1000': f'={num_steps}', 'vocab_size=8192': f'vocab_size={vocabulary}',
      'hidden_size=128': 'hidden_size=8', 'inner_size=512': 'inner_size=16',
      'max_positions=128': f'max_positions={length}'}.items():
    assert written in example
    example = example.replace(written, tried)
  random = np.random.default_rng(0)
  masked = np.stack([
      np.sort(random.choice(np.arange(1, length), predictions, replace=False))
      for _ in range(batch)])
  features = {
      'input_word_ids': random.integers(1, vocabulary, (batch, length)),
      'input_mask': np.ones((batch, length), np.int64),
      'input_type_ids': np.zeros((batch, length), np.int64),
      'masked_lm_positions': masked,
      'masked_lm_ids': random.integers(1, vocabulary, (batch, predictions)),
      'masked_lm_weights': np.ones((batch, predictions), np.float32),
      'next_sentence_labels': random.integers(0, 2, (batch, 1))}
  names = {'dataset': tf.data.Dataset.from_tensors(features).repeat()}

  exec(example, names)

  assert names['model'].architecture == names['target']
  assert [record['step'] for record in names['growth'].records] == [2, 4, 7]
