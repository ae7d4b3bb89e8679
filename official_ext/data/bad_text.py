"""Text that cannot be used: how much there was, and where it began."""

import dataclasses

# So many lines are shown; a foreign file may have millions.
SHOWN = 10


@dataclasses.dataclass
class BadText:
  """What was skipped.

  Attributes:
    num_lines: lines left out.
    num_files: files of which the rest, from some place on, was left out.
    first: why, naming file and line; the first `SHOWN` ones.
  """

  num_lines: int = 0
  num_files: int = 0
  first: list[str] = dataclasses.field(default_factory=list)

  def add_line(self, fault: str) -> None:
    self.num_lines += 1
    self._show(fault)

  def add_file(self, fault: str) -> None:
    self.num_files += 1
    self._show(fault)

  def add(self, other: 'BadText') -> None:
    self.num_lines += other.num_lines
    self.num_files += other.num_files
    for fault in other.first:
      self._show(fault)

  def _show(self, fault: str) -> None:
    if len(self.first) < SHOWN:
      self.first.append(fault)
