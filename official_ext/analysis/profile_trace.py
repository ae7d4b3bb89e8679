"""Step times out of the TensorFlow Profiler's traces, through `xprof`.

  python -m official_ext.analysis.profile_trace TRACE.xplane.pb...

prints them as JSON. `read_trace` runs just this in a process of its own: xprof
brings a second copy of the profiler's C++ code, which logs to stderr and need
not share a process with TensorFlow's.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

# Columns of xprof's input pipeline analysis by what a step waits for. Those
# with `tc` and `scv0` are a TPU's, the others those of GPUs and CPUs. Source:
# xprof/convert/op_stats_to_input_pipeline_analysis.cc.
_COLUMNS = {
    'device': ('deviceComputeTimeMs', 'deviceToDeviceTimeMs',
               'deviceCollectivesTimeMs', 'tcComputeTimeMs',
               'scv0ComputeTimeMs'),
    'host': ('hostComputeTimeMs', 'kernelLaunchTimeMs', 'outfeedTimeMs',
             'tcOutfeedTimeMs', 'hostTransferTimeMs'),
    'input': ('infeedTimeMs', 'tcInfeedTimeMs', 'scv0InfeedTimeMs'),
    'other': ('compileTimeMs', 'otherTimeMs', 'tcIdleTimeMs'),
}
PARTS = tuple(_COLUMNS)


@dataclasses.dataclass(frozen=True)
class MarkedStep:
  """What lies within one step marker, in seconds.

  Attributes:
    name: the marker's own name and number, such as `train 17`.
    seconds: from the beginning of the marker to its end.
    parts: `seconds` by what the step was doing: `device` computes (or talks to
      other devices), `host` computes or launches kernels, `input` is waited for,
      and `other` is the rest. On a CPU, the device is the host.
  """

  name: str
  seconds: float
  parts: Mapping[str, float]


def read_trace(directory: str) -> list[MarkedStep]:
  """Reads what `tf.profiler.experimental.stop` wrote.

  Args:
    directory: what the profiler was started with; may be remote. The newest of
      its sessions is read.

  Returns:
    The marked steps, in order; empty if the trace has no markers.

  Raises:
    ValueError: there is no trace, or xprof cannot read it.
  """
  import tensorflow as tf
  found = sorted(tf.io.gfile.glob(
      os.path.join(directory, 'plugins', 'profile', '*', '*.xplane.pb')))
  if not found:
    raise ValueError(
        f'{directory} holds no trace (plugins/profile/*/*.xplane.pb); copy the '
        "run's folder `profile` whole.")
  newest = os.path.dirname(found[-1])
  # A copy: xprof writes files beside what it reads, and reads local files.
  with tempfile.TemporaryDirectory() as copies:
    files = []
    for path in found:
      if os.path.dirname(path) == newest:
        files.append(os.path.join(copies, os.path.basename(path)))
        tf.io.gfile.copy(path, files[-1])
    done = subprocess.run(
        [sys.executable, '-m', __name__, *files], capture_output=True, text=True,
        check=False)
  if done.returncode:
    reason = (done.stderr.strip().splitlines() or ['no message'])[-1]
    raise ValueError(f'{newest}: xprof cannot read the trace ({reason}); trace '
                     'the run anew.')
  return [MarkedStep(**step) for step in json.loads(done.stdout)]


def marked_steps(tables: Sequence[Mapping[str, Any]]) -> list[MarkedStep]:
  """The steps in the tables of xprof's input pipeline analysis.

  Args:
    tables: as xprof gives them: `cols` with ids and `rows` of cells.
  """
  for table in tables:
    columns = [column['id'] for column in table.get('cols', ())]
    if not columns or columns[0] != 'stepnum':
      continue
    return [
        _marked_step(dict(zip(columns, (cell['v'] for cell in row['c']))))
        for row in table['rows']]
  return []


def _marked_step(row: Mapping[str, Any]) -> MarkedStep:
  parts = {
      part: sum(float(row.get(column) or 0) for column in columns) / 1000
      for part, columns in _COLUMNS.items()}
  total = row.get('stepTimeMs')
  seconds = sum(parts.values()) if total is None else float(total) / 1000
  return MarkedStep(str(row['stepnum']), seconds, parts)


def _print_steps(files: Sequence[str]) -> None:
  from xprof.convert import raw_to_tool_data
  data, _ = raw_to_tool_data.xspace_to_tool_data(
      list(files), 'input_pipeline_analyzer', {})
  print(json.dumps([dataclasses.asdict(step)
                    for step in marked_steps(json.loads(data))]))


if __name__ == '__main__':
  _print_steps(sys.argv[1:])
