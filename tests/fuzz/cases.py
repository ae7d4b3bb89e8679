"""What fuzzing throws at fields, what it expects, and how cases are counted."""

import collections
import functools

from hypothesis import strategies as st

# By the name of the test.
NUM_CASES = collections.Counter()

# What no field of the kind takes, and what some do.
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 8), st.integers(),
    st.floats(), st.sampled_from([0.0, 0.25, 0.5, 1.0, 1e9, 10**30]),
    st.text(max_size=6), st.binary(max_size=3),
    st.lists(st.integers(0, 3), max_size=2), st.just({}), st.just(1j),
    st.sampled_from(['append', 'fpi', 'bert', 'gpt', 'relu', 'adamw', 'mean']))


def counted(test):
  """Counts the calls of a test, below `hypothesis.given`."""
  @functools.wraps(test)
  def run(*arguments, **keywords):
    NUM_CASES[test.__name__] += 1
    return test(*arguments, **keywords)
  return run


def check_refusal(error: ValueError, names) -> None:
  """A refusal is one line that names one of the fields in question."""
  message = str(error)
  assert message.strip() and '\n' not in message, message
  assert any(name in message for name in names), (message, names)
