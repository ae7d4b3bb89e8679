"""A gcloud that knows one queued resource, and hosts that are folders here.

Its state is `$FAKE_GCLOUD/state.json`:

  states       what the queued resource goes through, a state a look; the last
               one stays. None: there is no resource.
  creations    the `states` that each request leads to
  num_hosts    hosts of the slice
  calls        every call, as words
  broken       calls of `describe` that fail before it works

`ssh` runs the command in the folder of the host, as a shell of its own; while
the resource is not ACTIVE it fails. When the resource is taken away, everything
on the hosts is killed and deleted.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

_ROOT = pathlib.Path(os.environ['FAKE_GCLOUD'])
_STATE = _ROOT / 'state.json'


def _flags(words):
  return dict(word[2:].partition('=')[::2] for word in words
              if word.startswith('--'))


def _fail(line):
  print(f'ERROR: (gcloud) {line}', file=sys.stderr)
  sys.exit(1)


def _host(number) -> pathlib.Path:
  folder = _ROOT / f'host{number}'
  folder.mkdir(exist_ok=True)
  return folder


def _take_away():
  """Kills what runs on the hosts, and empties their disks."""
  for folder in _ROOT.glob('host[0-9]*'):
    for path in folder.glob('pids/*'):
      try:
        os.killpg(int(path.name), signal.SIGKILL)
      except ProcessLookupError:
        pass
    shutil.rmtree(folder, ignore_errors=True)


def _describe(state):
  if state['broken']:
    state['broken'] -= 1
    _fail('There was a problem refreshing your current auth tokens')
  if not state['states']:
    _fail("NOT_FOUND: Resource 'queuedResources/it' was not found")
  now = state['states'][0]
  if len(state['states']) > 1:
    state['states'].pop(0)
  if now in ('SUSPENDING', 'SUSPENDED', 'FAILED'):
    _take_away()
  state['now'] = now
  print(now)


def _create(state, flags):
  if state['states']:
    _fail('ALREADY_EXISTS: Resource already exists')
  for needed in ('zone', 'node-id', 'accelerator-type', 'runtime-version'):
    if not flags.get(needed):
      _fail(f'argument --{needed}: Must be specified.')
  if not state['creations']:
    _fail('RESOURCE_EXHAUSTED: quota')
  state['states'] = state['creations'].pop(0)


def _delete(state, flags):
  if not state['states']:
    _fail('NOT_FOUND: Resource was not found')
  if 'force' not in flags:
    _fail('FAILED_PRECONDITION: has a node')
  _take_away()
  state['states'], state['now'] = [], None


def _workers(state, flags):
  if state['now'] != 'ACTIVE':
    _fail('Could not SSH into the instance; SSH connection refused')
  worker = flags['worker']
  return range(state['num_hosts']) if worker == 'all' else [int(worker)]


def _ssh(workers, command):
  for worker in workers:
    folder = _host(worker)
    environment = {
        'HOME': str(folder), 'FAKE_GCLOUD': str(_ROOT), 'FAKE_HOST': str(worker),
        'PATH': f'{_ROOT}/host_bin:{os.environ["PATH"]}'}
    done = subprocess.run(
        ['bash', '-c', command], cwd=folder, env=environment, check=False)
    if done.returncode:
      sys.exit(done.returncode)


def _scp(workers, words):
  *sources, target = [word for word in words if not word.startswith('--')]
  folder = target.partition(':')[2]
  for worker in workers:
    for source in sources:
      shutil.copy(source, _host(worker) / folder)


def main(words):
  """Answers a call."""
  state = json.loads(_STATE.read_text())
  state['calls'].append(words)
  _STATE.write_text(json.dumps(state))
  flags = _flags(words)
  group, action, *rest = words[2:]
  try:
    if (group, action) == ('queued-resources', 'describe'):
      _describe(state)
    elif (group, action) == ('queued-resources', 'create'):
      _create(state, flags)
    elif (group, action) == ('queued-resources', 'delete'):
      _delete(state, flags)
    elif (group, action) == ('tpu-vm', 'describe'):
      print(json.dumps({'networkEndpoints': [{}] * state['num_hosts']}))
    elif (group, action) == ('tpu-vm', 'ssh'):
      _ssh(_workers(state, flags), flags['command'])
    elif (group, action) == ('tpu-vm', 'scp'):
      _scp(_workers(state, flags), rest)
    else:
      _fail(f'Invalid choice: {words}')
  finally:
    _STATE.write_text(json.dumps(state))


if __name__ == '__main__':
  main(sys.argv[1:])
