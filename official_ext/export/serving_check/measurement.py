"""Servers asked in turns, and what came of it as a table."""

from collections.abc import Mapping, Sequence
import contextlib
from typing import Any, NamedTuple

import numpy as np

from official_ext.export.serving_check.prediction_client import Answers
from official_ext.export.serving_check.prediction_client import ask
from official_ext.export.serving_check.prediction_client import running_server

# Differences of this size come from the order of sums, greater ones from other
# tokens.
_ALIKE = 1e-4


class Server(NamedTuple):
  """A server of this folder: a name, and how it is started."""

  name: str
  python: str
  file: str
  arguments: tuple[str, ...]


def measure(servers: Sequence[Server], requests: Sequence[Mapping[str, str]],
            expected: np.ndarray, *, signature: str, output: str,
            levels: Sequence[int], rounds: int) -> list[dict[str, Any]]:
  """Sends all requests to all servers, in turns.

  Args:
    servers: all run at the same time, and are asked one after the other.
    requests: of one example each.
    expected: float32 [requests, ...], the answers.
    signature: which one to call.
    output: which of its outputs is compared; no other is asked for.
    levels: requests under way at any time.
    rounds: turns of each server at each level.

  Returns:
    Of each server and level: `server`, `concurrency`, medians over the rounds
    of `p50_milliseconds`, `p99_milliseconds` and `requests_per_second`, the
    `largest_difference` of any answer, and `share_alike`, of answers within
    1e-4.
  """
  with contextlib.ExitStack() as stack:
    stubs = {server.name: stack.enter_context(running_server(
        server.python, server.file, *server.arguments)) for server in servers}
    found = {(level, name): [] for level in levels for name in stubs}
    for _ in range(rounds):
      for level in levels:
        for name, stub in stubs.items():
          found[level, name].append(ask(
              stub, requests, signature=signature, concurrency=level,
              outputs=[output]))
  figures = []
  for (level, name), answers in found.items():
    largest_difference, share_alike = compare(answers, expected, output)
    figures.append({
        'server': name, 'concurrency': level,
        'p50_milliseconds': _median(each.percentile(50) for each in answers),
        'p99_milliseconds': _median(each.percentile(99) for each in answers),
        'requests_per_second': _median(
            each.requests_per_second for each in answers),
        'largest_difference': largest_difference, 'share_alike': share_alike})
  return figures


def compare(answers: Sequence[Answers], expected: np.ndarray, output: str
            ) -> tuple[float, float]:
  """The largest difference of any answer, and the share within 1e-4.

  Args:
    answers: of some rounds, of one example a request.
    expected: float32 [requests, ...].
    output: which one is compared. If any is not a number, neither is the
      largest difference.
  """
  differences = np.array([
      np.abs(outputs[output][0] - row).max()
      for each in answers for outputs, row in zip(each.outputs, expected)])
  return float(differences.max()), float(np.mean(differences < _ALIKE))


def _median(values) -> float:
  return float(np.median(list(values)))


def table(figures: Sequence[Mapping[str, Any]]) -> str:
  """Rows of Markdown."""
  rows = [('server', 'requests at a time', 'p50 ms', 'p99 ms', 'requests/s',
           'largest difference', 'within 1e-4'), ('---',) * 7]
  rows += [(each['server'], str(each['concurrency']),
            f"{each['p50_milliseconds']:.1f}", f"{each['p99_milliseconds']:.1f}",
            f"{each['requests_per_second']:.1f}",
            f"{each['largest_difference']:.1e}", f"{each['share_alike']:.1%}")
           for each in figures]
  return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
