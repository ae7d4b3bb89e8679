"""A progress bar on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import Callable, TextIO

import tqdm

_LINE_SECONDS = 10.0


class Progress:
  """How far a long piece of work has come.

  Args:
    what: the work, in a word or two.
    total: units in all; 0 if unknown.
    unit: 'B' for bytes, else a word.
    stream: where to show it; standard error by default.
    clock: seconds; a seam for tests.
  """

  def __init__(self, what: str, total: int, unit: str, *,
               stream: TextIO | None = None,
               clock: Callable[[], float] = time.monotonic):
    self._stream = stream or sys.stderr
    self._what, self._total, self._unit = what, total, unit
    self._clock = clock
    self.done = 0
    self._last_line = clock()
    self._bar = None
    if self._stream.isatty():
      self._bar = tqdm.tqdm(
          desc=what, total=total or None, unit=unit, unit_scale=unit == 'B',
          file=self._stream, dynamic_ncols=True)

  def advance_to(self, done: int) -> None:
    """Says that `done` units are finished."""
    step, self.done = done - self.done, done
    if self._bar is not None:
      self._bar.update(step)
    elif self._clock() - self._last_line >= _LINE_SECONDS:
      self._last_line = self._clock()
      share = f' ({done / self._total:.0%})' if self._total else ''
      amount = f'{done / 1e6:.1f} MB' if self._unit == 'B' else f'{done} {self._unit}'
      print(f'{self._what}: {amount}{share}', file=self._stream, flush=True)

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()
