"""A folder with a fake gcloud and fake hosts, and the scripts run against it."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

# Under Bazel this file is a link to the one in the repository.
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRIPTS = ROOT / 'tpu_scripts'
SETTINGS = ['--name', 'my-run', '--zone', 'us-x1-a', '--type', 'v4-8',
            '--runtime', 'some-base']
# All that the scripts and the hosts may call: never a gcloud that is none.
_TOOLS = ['basename', 'bash', 'cat', 'cp', 'dirname', 'env', 'mkdir', 'mktemp',
          'rm', 'sh', 'sleep', 'tail', 'touch', 'tr']
TRAIN = ['--gin_file', "gs://b/it's $(touch /tmp/never).gin",
         '--data_dir', 'gs://b/data', '--model_dir=gs://b/run']


class FakeCloud:
  """See `fake_gcloud.py` for the parts of the state."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self._bin = folder / 'bin'
    self._program(self._bin / 'gcloud', 'fake_gcloud.py')
    for tool in _TOOLS:
      (self._bin / tool).symlink_to(shutil.which(tool))
    (self._bin / 'python3').symlink_to(sys.executable)
    self._program(folder / 'host_bin/python3.11', 'fake_python.py')
    self.wheel = folder / 'official_ext-1-py3-none-any.whl'
    self.wheel.touch()
    self.put()

  def put(self, states=(), creations=(), runs=(), num_hosts=1, broken=0):
    """Lays down what will happen."""
    (self.folder / 'state.json').write_text(json.dumps({
        'states': list(states), 'creations': [list(c) for c in creations],
        'num_hosts': num_hosts, 'calls': [], 'broken': broken,
        'now': states[0] if states else None}))
    (self.folder / 'runs.json').write_text(json.dumps(list(runs)))
    (self.folder / 'hosts.jsonl').write_text('')

  def run(self, script: str, *arguments: str, settings=tuple(SETTINGS), **environ
          ) -> subprocess.CompletedProcess:
    """Runs a script to its end."""
    program = (['bash'] if script.endswith('.sh') else [sys.executable])
    return subprocess.run(
        [*program, str(SCRIPTS / script), *settings, *arguments],
        cwd=self.folder, capture_output=True, text=True, check=False, timeout=600,
        env={'PATH': str(self._bin), 'HOME': '/nowhere',
             'FAKE_GCLOUD': str(self.folder), **environ})

  def calls(self) -> list[str]:
    """What was asked of gcloud, `group action` each, without the looks."""
    calls = json.loads((self.folder / 'state.json').read_text())['calls']
    return [' '.join(call[2:4]) for call in calls if call[3] != 'describe']

  def words(self, action: str) -> list[str]:
    """The words of the last call of an action."""
    calls = json.loads((self.folder / 'state.json').read_text())['calls']
    return [call for call in calls if ' '.join(call[2:4]) == action][-1]

  def on_hosts(self) -> list[dict]:
    """What the hosts' python was asked to do."""
    return [json.loads(line) for line in
            (self.folder / 'hosts.jsonl').read_text().splitlines()]

  def close(self):
    """Ends what a test that failed may have left running."""
    for path in self.folder.glob('host[0-9]*/pids/*'):
      with contextlib.suppress(ProcessLookupError):
        os.killpg(int(path.name), signal.SIGKILL)

  def _program(self, path: pathlib.Path, source: str):
    path.parent.mkdir()
    path.write_text(
        f'#!{sys.executable} -SE\n' + (HERE / source).read_text())
    path.chmod(0o755)
