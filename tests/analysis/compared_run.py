"""Run directories whose comparison is known by arithmetic, with real traces."""

import json
import os

from tensorflow.tsl.profiler.protobuf import xplane_pb2

from official_ext.analysis import flops
from tests.analysis.synthetic_run import BATCH_SIZE
from tests.analysis.synthetic_run import NUM_PREDICTIONS
from tests.analysis.synthetic_run import TARGET

DATA = {'vocab_sha256': 'a' * 64,
        'splits': {'128': {'train': ['b' * 64, 'c' * 64], 'eval': ['d' * 64]}}}
# Name, steps, layers, milliseconds a step.
BASELINE = (('full', 100, 4, 400),)
GROWN = (('half', 60, 2, 150), ('full', 40, 4, 400))
# Every evaluation takes this long, and so do every growth and all checkpoints.
EVALUATION, GROWTH, CHECKPOINTS, TRACING, START = 2.0, 3.0, 1.0, 10.0, 5.0


def write_run(path, stages=BASELINE, loss_of=lambda step: 10 - step / 20, *,
              traced_milliseconds=None, told=True, **schedule):
  """Writes a run that is evaluated every 20 steps and around growths.

  Args:
    path: where to.
    stages: as `BASELINE`.
    loss_of: step -> held-out loss; a growth adds 0.5 to it for the moment.
    traced_milliseconds: durations of the markers in each stage's trace.
    told: whether the records say what the time went into; older ones do not.
    **schedule: changes of `schedule.json`.
  """
  os.makedirs(path)
  resolved, metrics, growths, traces = [], [], [], []
  spent = {'steps': 0.0, 'tracing': 0.0, 'growth': 0.0, 'evaluation': 0.0,
           'checkpoints': CHECKPOINTS, 'profiling': 0.0}
  used, start = 0.0, 0

  def add(step, index, split, **more):
    metrics.append({
        'step': step, 'stage': index, 'stage_name': stages[index][0],
        'wall_seconds': START + sum(spent.values()), 'train_flops': used,
        'split': split, **({'spent_seconds': dict(spent)} if told else {}),
        'masked_lm_accuracy': 0.1, **more})

  def evaluate(step, index, moment, extra=0.0):
    spent['evaluation'] += EVALUATION
    add(step, index, 'eval', moment=moment, eval_steps=16,
        loss=loss_of(step) + extra)
    return loss_of(step) + extra

  for index, (name, steps, layers, milliseconds) in enumerate(stages):
    architecture = TARGET.replace(num_layers=layers)
    resolved.append({
        'index': index, 'name': name, 'start_step': start,
        'end_step': start + steps, 'architecture': architecture.__dict__})
    if index:
      before = evaluate(start, index - 1, 'before_growth')
      spent['growth'] += GROWTH
      growths.append({
          'step': start, 'stage_from': index - 1, 'stage_to': index,
          'operators': ['depth 2 -> 4 (append)'], 'loss_before': before,
          'loss_after': evaluate(start, index, 'after_growth', 0.5),
          'preserves': False, 'max_logit_difference': 1.0, 'seconds': GROWTH})
    spent['tracing'] += TRACING
    for step in range(start + 20, start + steps + 1, 20):
      used += 20 * flops.train_flops(architecture, NUM_PREDICTIONS, BATCH_SIZE)
      spent['steps'] += 20 * milliseconds / 1000
      add(step, index, 'train', loss=loss_of(step), step_seconds=milliseconds / 1000,
          tracing_seconds=TRACING if step == start + 20 else 0.0)
      if step < start + steps or index == len(stages) - 1:
        evaluate(step, index,
                 'end' if step == sum(s for _, s, *_ in stages) else 'interval')
    if traced_milliseconds:
      directory = f'profile/stage_{index}_step_{start + 10}'
      write_trace(os.path.join(path, directory), traced_milliseconds[index])
      traces.append({
          'step': start + 10, 'stage': index, 'stage_name': name,
          'directory': directory, 'steps_per_marker': 1,
          'steps': len(traced_milliseconds[index]),
          'seconds': 1.02 * sum(traced_milliseconds[index]) / 1000})
    start += steps
  _write(path, 'schedule.json', json.dumps({
      'num_steps': start, 'batch_size': BATCH_SIZE,
      'num_predictions': NUM_PREDICTIONS, 'target': TARGET.__dict__,
      'stages': resolved, 'model': {'use_next_sentence': True},
      'data': DATA} | schedule))
  for name, records in (('metrics', metrics), ('growth', growths),
                        ('profile', traces)):
    _write(path, f'{name}.jsonl', ''.join(json.dumps(r) + '\n' for r in records))
  return str(path)


def write_trace(directory, milliseconds):
  """A trace of marked steps of these durations, as TensorFlow lays it out.

  Of each step, three quarters go into an operation.
  """
  space = xplane_pb2.XSpace()
  plane = space.planes.add(name='/host:CPU')
  for number, name in enumerate(('train', 'dense/MatMul:MatMul'), 1):
    plane.event_metadata[number].id = number
    plane.event_metadata[number].name = name
  for number, name in enumerate(('step_num', '_r'), 1):
    plane.stat_metadata[number].id = number
    plane.stat_metadata[number].name = name
  line = plane.lines.add(id=1, name='python', timestamp_ns=1_000_000)
  offset = 0
  for step, duration in enumerate(milliseconds):
    picoseconds = int(duration * 1e9)
    event = line.events.add(
        metadata_id=1, offset_ps=offset, duration_ps=picoseconds)
    event.stats.add(metadata_id=1, int64_value=step)
    event.stats.add(metadata_id=2, int64_value=1)
    line.events.add(metadata_id=2, offset_ps=offset + picoseconds // 8,
                    duration_ps=picoseconds * 3 // 4)
    offset += picoseconds + int(1e9)
  session = os.path.join(directory, 'plugins', 'profile', '2026_01_01_00_00_00')
  os.makedirs(session)
  with open(os.path.join(session, 'host.xplane.pb'), 'wb') as file:
    file.write(space.SerializeToString())


def _write(path, name, text):
  with open(os.path.join(path, name), 'w', encoding='utf-8') as file:
    file.write(text)
