"""The embedded corpus, of a small folder of packages."""

import textwrap

import pytest

from official_ext.data import embedded_corpus

_DOCSTRING = '''
    Computes the widest path between two places of a graph.

    The algorithm visits every edge once, and `heap_size` bounds what it
    keeps. See :func:`~graphs.narrow` for the [opposite](https://x.org/a).

    Widest path
    -----------
    Parameters
    ----------
    graph : Graph or None
        The graph in which the path between both places is sought.
    limit : int

    Args:
      start: Name of the place at which the path has to begin.
      end (str): Name of the place at which
        the path has to end.
      n: count

    >>> widest(graph, "a", "b")
    This is the output of the example and no prose at all.

    For example::

        this is code even though it has no signs of code in it

    ```
    and this is code within a fence that has no signs
    ```

    .. note:: this directive is left out with all of its text
        and with all of its indented lines as well.

    - The first point says something that is long enough.
    - short one

    a = b(c); d[e] = {f: g}; h = lambda x: x ** 2
'''


def test_prose_of_a_docstring():
  import inspect
  assert embedded_corpus.prose(inspect.cleandoc(_DOCSTRING)) == [
      'Computes the widest path between two places of a graph.',
      'The algorithm visits every edge once, and heap_size bounds what it keeps. '
      'See graphs.narrow for the opposite.',
      'The graph in which the path between both places is sought.',
      'Name of the place at which the path has to begin.',
      'Name of the place at which the path has to end.',
      'The first point says something that is long enough.',
  ]


@pytest.fixture
def packages(tmp_path):
  root = tmp_path / 'packages'
  for i in range(5):
    folder = root / f'package{i}'
    (folder / 'tests').mkdir(parents=True)
    (folder / 'tests' / 'x.py').write_text('"""Tests are not a part of the corpus at all."""')
    (folder / 'module.py').write_text(textwrap.dedent(f'''
        """Module number {'one two three four five'.split()[i]} explains what it does."""
        raise RuntimeError('never imported')
        class A:
          """Every package repeats this sentence, word by word."""
          def b(self):
            """A method of the class says more about {'abcde'[i] * 3} than before."""
        '''))
    (folder / 'broken.py').write_text('"""Not Python, but with a docstring of many words."""\ndef (')
  return root


def test_a_module_is_a_document_and_nothing_comes_twice(packages, tmp_path):
  path = tmp_path / 'corpus.txt'
  info = embedded_corpus.write_corpus(str(path), 1, root=str(packages))
  text = path.read_text()
  assert info['documents'] == 5 == len(text.strip().split('\n\n'))
  assert info['bytes'] == len(text)
  assert text.count('Every package repeats') == 1
  assert text.count('A method of the class') == 5
  assert 'Tests are' not in text and 'Not Python' not in text


def test_the_same_packages_give_the_same_corpus(packages, tmp_path):
  one, two = tmp_path / 'one.txt', tmp_path / 'two.txt'
  assert embedded_corpus.write_corpus(
      str(one), 1, root=str(packages)) == embedded_corpus.write_corpus(
          str(two), 2, root=str(packages))
  assert one.read_bytes() == two.read_bytes()


def test_the_fingerprint_follows_the_packages(packages):
  before = embedded_corpus.fingerprint(str(packages))
  assert before == embedded_corpus.fingerprint(str(packages))
  (packages / 'package0' / 'module.py').write_text('')
  assert before != embedded_corpus.fingerprint(str(packages))


def test_no_docstrings(tmp_path):
  (tmp_path / 'x.py').write_text('x = 1')
  with pytest.raises(ValueError, match='no docstrings found under .*; give --input'):
    embedded_corpus.write_corpus(str(tmp_path / 'c.txt'), 1, root=str(tmp_path))
