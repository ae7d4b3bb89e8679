"""Where the walltime of a run went, over all its sessions."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import time

# In the order in which a page shows them. What is left of the walltime is
# start-up, and waiting that nobody measured.
KINDS = ('steps', 'tracing', 'growth', 'evaluation', 'checkpoints', 'profiling')


class TimeLedger:
  """Adds up the seconds of each kind of work.

  Every line of metrics carries the sums so far, as it does `wall_seconds`: a
  resumed run goes on from the line that it resumes at, so that work which is
  done twice counts once, in both.

  Args:
    seconds: what earlier sessions of the run took, by kind.
    clock: monotonic seconds.
  """

  def __init__(self, seconds: Mapping[str, float] | None = None,
               clock: Callable[[], float] = time.monotonic):
    self._seconds = dict.fromkeys(KINDS, 0.0) | dict(seconds or {})
    self._clock = clock
    self._running = None

  def __getitem__(self, kind: str) -> float:
    return self._seconds[kind]

  def add(self, kind: str, seconds: float) -> None:
    self._seconds[kind] += seconds

  @contextlib.contextmanager
  def spending(self, kind: str) -> Iterator[None]:
    """Counts the time of a block, also of one that fails."""
    start = self._clock()
    self._running = kind, start
    try:
      yield
    finally:
      self._running = None
      self.add(kind, self._clock() - start)

  def to_dict(self) -> dict[str, float]:
    """Seconds by kind, with what a block that is running has taken so far."""
    seconds = dict(self._seconds)
    if self._running:
      kind, start = self._running
      seconds[kind] += self._clock() - start
    return {kind: round(seconds[kind], 3) for kind in KINDS}
