"""The python3.11 of a fake host: makes environments that install nothing.

What it is asked to do is added to `$FAKE_GCLOUD/hosts.jsonl`. `-m venv` puts a
copy of itself into the environment; `-m official_ext.train` plays the next of the
runs that `$FAKE_GCLOUD/runs.json` lists: an exit code, 'endless', which goes on
until it is killed, or 'patient', which saves at a SIGTERM.
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import time

_ROOT = pathlib.Path(os.environ['FAKE_GCLOUD'])


def _note(words):
  with open(_ROOT / 'hosts.jsonl', 'a', encoding='utf-8') as file:
    file.write(json.dumps({
        'host': os.environ['FAKE_HOST'], 'words': words,
        'load_library': os.environ.get('TPU_LOAD_LIBRARY')}) + '\n')


def _train():
  pids = _ROOT / f'host{os.environ["FAKE_HOST"]}' / 'pids'
  pids.mkdir(exist_ok=True)
  (pids / str(os.getpgrp())).touch()
  path = _ROOT / 'runs.json'
  kind, *rest = json.loads(path.read_text())
  path.write_text(json.dumps(rest))
  print(f'training: {kind}', flush=True)
  if isinstance(kind, int):
    sys.exit(kind)
  if kind == 'patient':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
  while True:
    time.sleep(0.05)


def main(words):
  """Plays python3.11."""
  _note(words)
  if words[:2] == ['-m', 'venv']:
    target = pathlib.Path(words[2]) / 'bin/python'
    target.parent.mkdir(parents=True)
    shutil.copy(sys.argv[0], target)
    target.chmod(0o755)
  elif words[:2] == ['-m', 'official_ext.train']:
    _train()
  elif words[:1] == ['serve.py']:
    time.sleep(0.5)


if __name__ == '__main__':
  main(sys.argv[1:])
