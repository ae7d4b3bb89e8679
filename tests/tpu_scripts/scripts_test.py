"""The scripts as they are called, against a gcloud that only pretends."""

import json
import os
import shutil
import subprocess
import time

import pytest

from tests.tpu_scripts.fake_cloud import FakeCloud
from tests.tpu_scripts.fake_cloud import ROOT
from tests.tpu_scripts.fake_cloud import SCRIPTS
from tests.tpu_scripts.fake_cloud import SETTINGS
from tests.tpu_scripts.fake_cloud import TRAIN

_SHELL = sorted([*SCRIPTS.rglob('*.sh'), *ROOT.glob('tools/*.sh')])
# Those that are called with settings.
_CALLED = ['create.sh', 'setup_hosts.sh', 'launch.sh', 'status.sh',
           'follow_log.sh', 'tear_down.sh']
FAST = ['--poll_seconds', '0.1', '--longest_wait_seconds', '0.1']


@pytest.fixture(name='cloud')
def fixture_cloud(tmp_path):
  cloud = FakeCloud(tmp_path)
  yield cloud
  cloud.close()


@pytest.mark.skipif(not shutil.which('shellcheck'),
                    reason='shellcheck is not installed')
def test_shellcheck_finds_nothing():
  done = subprocess.run(
      ['shellcheck', '-x', *(str(path.relative_to(ROOT)) for path in _SHELL)],
      cwd=ROOT, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stdout) == (0, '')


@pytest.mark.parametrize('path', _SHELL, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_error(path):
  if path.name != 'settings.sh':  # It is sourced by those that do.
    assert 'set -euo pipefail' in path.read_text()
    assert os.access(path, os.X_OK)


class TestHelp:

  @pytest.mark.parametrize('script', [*_CALLED, 'compare_walltime.sh',
                                      'on_host/install.sh', 'supervise.py'])
  def test_each_has_one(self, script, cloud):
    done = cloud.run(script, '--help', settings=())
    assert done.returncode == 0, done.stderr
    name = script.rpartition('/')[2]
    assert done.stdout.lower().startswith(f'usage: {name}')
    if script in _CALLED:
      assert '--dry_run' in done.stdout and '--zone ZONE' in done.stdout

  @pytest.mark.parametrize('script', _CALLED)
  def test_a_dry_run_calls_nothing(self, script, cloud):
    (cloud.folder / 'bin/gcloud').write_text('#!/bin/sh\nexit 99\n')
    extra = ['--', *TRAIN] if script == 'launch.sh' else []
    done = cloud.run(script, '--dry_run', *extra)
    assert done.returncode == 0, done.stderr
    assert 'would run: gcloud compute tpus' in done.stdout
    assert '--zone=us-x1-a' in done.stdout

  def test_a_dry_run_of_the_loop_shows_every_step(self, cloud):
    (cloud.folder / 'bin/gcloud').write_text('#!/bin/sh\nexit 99\n')
    done = cloud.run('supervise.py', '--dry_run', '--wheel', str(cloud.wheel),
                     '--', *TRAIN)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line.endswith(':')]
    assert steps == ['create:', 'set up:', 'launch:', 'delete:']


class TestSettings:

  def test_file_environment_and_flags(self, cloud):
    (cloud.folder / 'tpu.env').write_text(
        '# A comment.\n\nTPU_NAME=of-file\nTPU_ZONE=of-file\nTPU_TYPE=of-file\n'
        'TPU_RUNTIME=of-file\nTPU_PROJECT=mine\nTPU_SPOT=false\r\n')
    done = cloud.run('create.sh', '--dry_run', '--zone', 'of-flag',
                     settings=(), TPU_ZONE='of-environment',
                     TPU_TYPE='of-environment')
    line = done.stdout.splitlines()[0]
    assert line == (
        'would run: gcloud compute tpus queued-resources create of-file '
        '--zone=of-flag --quiet --project=mine --node-id=of-file '
        '--accelerator-type=of-environment --runtime-version=of-file')

  def test_the_example_is_one(self, cloud):
    done = cloud.run('create.sh', '--dry_run', '--settings',
                     str(SCRIPTS / 'tpu.env.example'), settings=())
    assert done.returncode == 0, done.stderr
    assert '--spot' in done.stdout

  def test_a_file_is_not_executed(self, cloud):
    (cloud.folder / 'tpu.env').write_text('TPU_NAME=$(touch ran)\n')
    done = cloud.run('create.sh', '--dry_run', settings=SETTINGS[2:])
    assert done.returncode == 2
    assert done.stderr == (
        "error: TPU_NAME is '$(touch ran)'; it consists of letters, digits and "
        '. _ : -\n')
    assert not (cloud.folder / 'ran').exists()

  @pytest.mark.parametrize('text, message', [
      ('PATH=/x', "tpu.env: 'PATH=/x' is no setting; write one of TPU_NAME "),
      ('TPU_NAME', "tpu.env: 'TPU_NAME' is no setting; "),
      ('TPU_NAME=--impersonate', "TPU_NAME is '--impersonate'; "),
      ('TPU_NAME=x\nTPU_SPOT=yes', "TPU_SPOT is 'yes'; give true or false"),
  ])
  def test_mistakes_in_a_file(self, cloud, text, message):
    (cloud.folder / 'tpu.env').write_text(text + '\n')
    done = cloud.run('create.sh', '--dry_run', settings=SETTINGS[2:])
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: {message}')

  @pytest.mark.parametrize('arguments, message', [
      (['--nmae', 'x'], "unknown argument '--nmae' (--help lists the flags)"),
      (['--zone'], '--zone lacks its value (--help lists the flags)'),
      (['--zone', ''], 'TPU_ZONE is not set; give --zone, or set it in tpu.env '
       '(tpu_scripts/tpu.env.example)'),
      (['--settings', 'no'], '--settings no: there is no such file'),
      (['--attempts', 'x'], "--attempts is 'x'; give a whole number"),
  ])
  def test_mistakes_in_flags(self, cloud, arguments, message):
    done = cloud.run('create.sh', *arguments)
    assert (done.returncode, done.stderr) == (2, f'error: {message}\n')

  def test_without_gcloud(self, cloud):
    (cloud.folder / 'bin/gcloud').unlink()
    done = cloud.run('create.sh')
    assert done.returncode == 2
    assert done.stderr.startswith('error: gcloud is not installed')

  @pytest.mark.parametrize('arguments, message', [
      ([], 'no arguments of train are given; write them after -- (--help shows '
       'how)'),
      (['--', '--data_dir', 'gs://b'], "--model_dir is ''"),
      (['--', '--data_dir', 'gs://b', '--model_dir', '/tmp/x'],
       "--model_dir is '/tmp/x'; a TPU and its disk can be taken away, give a "
       'gs:// path'),
      (['--', *TRAIN, '--tpu=local'], '--tpu is added here; leave it out'),
      (['--file', 'no.gin', '--', *TRAIN], '--file no.gin: there is no such file'),
      (['--', '--gin_file=my.gin', *TRAIN], '--gin_file my.gin is not packaged and '
       'not sent along; give --file PATH before --'),
  ])
  def test_mistakes_in_a_launch(self, cloud, arguments, message):
    done = cloud.run('launch.sh', '--dry_run', *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith('error: ')
    assert message in done.stderr


class TestCreate:

  def test_it_waits_until_it_is_there(self, cloud):
    cloud.put(creations=[['WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE']])
    done = cloud.run('create.sh', '--poll_seconds', '0')
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f'my-run: {state}' for state in (
            'GONE', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE')]
    assert cloud.words('queued-resources create')[4:] == [
        'my-run', '--zone=us-x1-a', '--quiet', '--node-id=my-run',
        '--accelerator-type=v4-8', '--runtime-version=some-base', '--spot']

  def test_gcloud_that_cannot_tell_at_first_is_not_waited_for(self, cloud):
    cloud.put(broken=9)
    done = cloud.run('create.sh', '--poll_seconds', '0')
    assert done.returncode == 2
    assert 'error: gcloud could not tell the state' in done.stderr
    assert not cloud.calls()

  def test_what_failed_is_deleted_and_requested_again_so_often(self, cloud):
    cloud.put(states=['SUSPENDED'], creations=[['FAILED']] * 9)
    done = cloud.run('create.sh', '--poll_seconds', '0', '--attempts', '2')
    assert done.returncode == 1
    assert done.stderr == (
        'error: my-run failed 2 times; another zone or type may have room\n')
    assert cloud.calls() == [
        'queued-resources delete', *['queued-resources create',
                                     'queued-resources delete'] * 2]


def test_hosts_are_set_up_with_tensorflow_tpu_last(cloud):
  cloud.put(states=['ACTIVE'], num_hosts=2)
  assert json.loads(cloud.run('status.sh').stdout or '{}') == {
      'resource': 'ACTIVE', 'job': {'state': 'not_installed'}}
  done = cloud.run('setup_hosts.sh', '--wheel', str(cloud.wheel))
  assert done.returncode == 0, done.stderr
  for host in '01':
    words = [entry['words'] for entry in cloud.on_hosts()
             if entry['host'] == host and 'pip' in entry['words']]
    assert [entry[-1] for entry in words] == [
        'requirements.lock', 'tensorflow', f'./{cloud.wheel.name}',
        'tpu_requirements.lock']
    assert all('--require-hashes' in entry for entry in (words[0], words[3]))
    assert 'uninstall' in words[1]
    assert any('official_ext.doctor' in entry['words'] and 'local' in entry['words']
               for entry in cloud.on_hosts() if entry['host'] == host)
  # A slice of several hosts has a server on each, worker 0 among them. They begin
  # after the script's end: one that was looked for at once was not there yet.
  servers = [_wait_for(cloud, lambda entry, host=host: (
      entry['host'] == host and entry['words'] == ['serve.py'])) for host in '01']
  assert all(servers)
  assert json.loads(cloud.run('status.sh').stdout)['job'] == {'state': 'none'}

  cloud.run('launch.sh', '--', *TRAIN)
  train = _wait_for(cloud, lambda entry: 'official_ext.train' in entry['words'])
  assert train['words'] == ['-m', 'official_ext.train', '--tpu', 'my-run', *TRAIN]
  assert (train['host'], train['load_library']) == ('0', '0')
  cloud.run('tear_down.sh')


def _wait_for(cloud, is_it):
  """The first thing of a kind that a host's python was asked to do."""
  for _ in range(1000):
    for entry in cloud.on_hosts():
      if is_it(entry):
        return entry
    time.sleep(0.02)
  raise AssertionError(f'none of {cloud.on_hosts()}')


def test_a_run_survives_the_session_and_is_stopped_gently(cloud):
  cloud.put(states=['ACTIVE'], runs=['patient', 0])
  cloud.run('setup_hosts.sh', '--wheel', str(cloud.wheel))
  done = cloud.run('launch.sh', '--', *TRAIN)
  assert (done.returncode, done.stdout) == (0, 'train started\n')
  assert cloud.run('launch.sh', '--', *TRAIN).stdout == 'train is running already\n'
  other = cloud.run('launch.sh', '--', *TRAIN, '--debug')
  assert other.returncode == 1
  assert other.stderr.startswith('error: another train is running on this host')
  status = json.loads(cloud.run('status.sh').stdout)
  assert status == {'resource': 'ACTIVE', 'job': {
      'state': 'running', 'arguments': TRAIN}}

  job = cloud.folder / 'host0/official_ext/jobs/train'
  while not (job / 'log.txt').stat().st_size:
    time.sleep(0.02)
  (cloud.folder / 'bin/tail').unlink()
  (cloud.folder / 'bin/tail').write_text('#!/bin/sh\necho "$2 $3 $4:"; exec cat "$4"\n')
  (cloud.folder / 'bin/tail').chmod(0o755)
  assert cloud.run('follow_log.sh').stdout == (
      '200 -F official_ext/jobs/train/log.txt:\ntraining: patient\n')
  # It is asked to end, and only then deleted.
  done = cloud.run('tear_down.sh')
  assert (done.returncode, done.stdout) == (0, 'train has ended\n')
  assert cloud.calls()[-2:] == ['tpu-vm ssh', 'queued-resources delete']


def test_supervising_through_failure_preemption_and_loss(cloud):
  """Every state of a queued resource, and a run that goes on after each."""
  ready = ['WAITING_FOR_RESOURCES', 'PROVISIONING']
  cloud.put(
      creations=[
          ['ACCEPTED', *ready, 'FAILED'],
          # Installed, launched, running, taken away.
          [*ready, *['ACTIVE'] * 5, 'SUSPENDING', 'SUSPENDED'],
          [*ready, 'ACTIVE']],
      runs=['endless', 75, 137, 0], broken=1)
  done = cloud.run('supervise.py', *FAST, '--wheel', str(cloud.wheel), '--',
                   *TRAIN)
  assert done.returncode == 0, done.stdout + done.stderr
  looks = [line[20:].split(':')[0] for line in done.stdout.splitlines()
           if line[20:21].isupper()]
  assert [state for i, state in enumerate(looks)
          if state != 'ACTIVE, running' or looks[i - 1] != state] == [
              'UNKNOWN', 'GONE', 'ACCEPTED', *ready, 'FAILED', 'GONE', *ready,
              'ACTIVE, not installed', 'ACTIVE, none', 'ACTIVE, running',
              'SUSPENDING', 'SUSPENDED', 'GONE', *ready, 'ACTIVE, not installed',
              'ACTIVE, none', 'ACTIVE, exited with code 75',
              'ACTIVE, exited with code 137', 'ACTIVE, exited with code 0']
  runs = [entry['words'] for entry in cloud.on_hosts()
          if 'official_ext.train' in entry['words']]
  assert len(runs) == 4
  assert all(words == ['-m', 'official_ext.train', '--tpu', 'local', *TRAIN]
             for words in runs)
  resources = [call for call in cloud.calls() if call.startswith('queued')]
  assert resources == ['queued-resources create', 'queued-resources delete'] * 3


def test_supervising_a_mistake_in_the_configuration(cloud):
  cloud.put(creations=[['ACTIVE']] * 9, runs=[2])
  done = cloud.run('supervise.py', *FAST, '--wheel', str(cloud.wheel), '--',
                   *TRAIN)
  assert done.returncode == 2
  assert ('ACTIVE, exited with code 2: stop (the configuration has mistakes; mend '
          'them and give the same command)') in done.stdout
  assert '  | training: 2' in done.stdout
  assert cloud.calls()[-1] == 'queued-resources delete'
  assert cloud.calls().count('queued-resources create') == 1


@pytest.mark.slow
def test_supervising_a_run_that_always_fails(cloud):
  cloud.put(creations=[['ACTIVE']] * 9, runs=[1] * 9)
  done = cloud.run('supervise.py', *FAST, '--failures', '2', '--keep', '--wheel',
                   str(cloud.wheel), '--', *TRAIN)
  assert done.returncode == 1
  assert '2 failures without a run that went well between' in done.stdout
  assert 'queued-resources delete' not in cloud.calls()


def test_supervising_checks_everything_before_it_pays(cloud):
  done = cloud.run('supervise.py', '--', '--data_dir', 'gs://b', '--model_dir', 'x')
  assert done.returncode == 2
  assert "error: --model_dir is 'x'" in done.stderr
  assert not cloud.calls()


class TestCompareWalltime:

  def _run(self, cloud, *arguments, **environ):
    return cloud.run('compare_walltime.sh', '--baseline', 'e/scratch_x.gin',
                     '--data_dir', 'D', '--output_dir', 'O', *arguments,
                     settings=(), **environ)

  def test_baseline_growths_and_comparison(self, cloud):
    python = cloud.folder / 'bin/python'
    python.write_text('#!/bin/sh\necho "$*" >>calls\n')
    python.chmod(0o755)
    done = self._run(cloud, '--growth', 'e/a.gin', '--growth', 'b.gin',
                     '--gin_params', 'SEED = 1', '--', '--tpu', 'local',
                     PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    shared = '--data_dir D --gin_params SEED = 1 --tpu local'
    files = ('e/scratch_x.gin', 'e/a.gin', 'b.gin')
    assert (cloud.folder / 'calls').read_text().splitlines() == [
        *(f'-m official_ext.plan --gin_file {path} --nojson --gin_params SEED = 1'
          for path in files),
        *(f'-m official_ext.train --gin_file {path} --model_dir O/{name} {shared}'
          for path, name in zip(files, ('scratch_x', 'a', 'b'))),
        '-m official_ext.compare --output_dir O/comparison O/scratch_x O/a O/b']

  def test_a_run_that_fails_is_the_last(self, cloud):
    python = cloud.folder / 'bin/python'
    python.write_text('#!/bin/sh\necho "$2" >>calls\n[ "$2" = official_ext.plan ]\n')
    python.chmod(0o755)
    done = self._run(cloud, '--growth', 'a.gin', PYTHON=str(python))
    assert done.returncode == 1
    assert (cloud.folder / 'calls').read_text().split() == [
        'official_ext.plan', 'official_ext.plan', 'official_ext.train']

  def test_a_mistake_in_the_last_file_comes_before_any_training(self, cloud):
    done = self._run(cloud, '--growth', 'a.gin', PYTHON='false')
    assert done.returncode == 2

  @pytest.mark.parametrize('arguments, message', [
      ([], '--baseline, --growth, --data_dir and --output_dir are needed (--help '
       'shows how)'),
      (['--growth', 'other/scratch_x.gin'], 'two gin files are called scratch_x; '
       'rename one, runs are named after them'),
      (['--growth'], '--growth lacks its value (--help lists the flags)'),
      (['--x', 'y'], "unknown argument '--x' (--help lists the flags)"),
  ])
  def test_mistakes(self, cloud, arguments, message):
    done = self._run(cloud, '--dry_run', *arguments)
    assert (done.returncode, done.stderr) == (2, f'error: {message}\n')
