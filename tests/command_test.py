"""The shell of the commands: help, exit codes, errors of one line."""

import subprocess
import sys
import time

import pytest

from official_ext.mistakes import ConfigurationError
from official_ext.mistakes import did_you_mean
from official_ext.mistakes import one_line

# A command in a process of its own, because flags and exit codes are global.
PROGRAM = '''
"""Does nothing."""
from absl import flags
from official_ext.command import run_command
SIZE = flags.DEFINE_integer('size', 1, 'How much.')
def main({parameters}):
  {body}
run_command(main{extra})
'''


def run(tmp_path, body, *arguments, parameters='', extra=''):
  path = tmp_path / 'nothing.py'
  path.write_text(PROGRAM.format(body=body, parameters=parameters, extra=extra))
  return subprocess.run(
      [sys.executable, str(path), *arguments], capture_output=True, text=True,
      check=False)


def test_success_is_silent_and_zero(tmp_path):
  done = run(tmp_path, 'pass')
  assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_help_says_what_it_is_and_lists_the_flags(tmp_path):
  done = run(tmp_path, 'raise AssertionError', '--help')
  assert done.returncode == 0
  assert done.stdout.startswith(
      'Does nothing.\n\nUsage: python nothing.py [flags]\n')
  for flag in ('--size: How much.', '--[no]debug: ', '-h,--[no]help: '):
    assert flag in done.stdout
  assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize('command', ['train', 'doctor', 'analysis.report'])
def test_help_takes_less_than_a_second_and_no_tensorflow(command):
  start = time.monotonic()
  done = subprocess.run(
      [sys.executable, '-X', 'importtime', '-m', f'official_ext.{command}',
       '--help'], capture_output=True, text=True, check=False)
  seconds = time.monotonic() - start
  assert done.returncode == 0, done.stderr[-500:]
  assert f'Usage: python -m official_ext.{command} [flags]' in done.stdout
  assert '--model_dir' in done.stdout
  imported = {line.rsplit('|', 1)[-1].strip() for line in done.stderr.splitlines()}
  assert not imported & {'tensorflow', 'numpy', 'gin'}
  # The machine may be busy; a single import of TensorFlow takes 5 s and more.
  assert seconds < 3


@pytest.mark.parametrize('body, code, message', [
    ("raise ValueError('two\\nlines')", 2, 'error: two lines\n'),
    ("open('/nowhere/file')", 2,
     'error: /nowhere/file: No such file or directory\n'),
    ('import no_such_module', 2,
     "error: No module named 'no_such_module'; `python -m official_ext.doctor` "
     'shows what is missing\n'),
    ("{}['key']", 1,
     "error: KeyError: 'key' (--debug shows the whole trace)\n"),
    ('raise KeyboardInterrupt', 130, 'error: interrupted\n'),
])
def test_an_error_is_one_line(tmp_path, body, code, message):
  done = run(tmp_path, body)
  assert (done.returncode, done.stderr, done.stdout) == (code, message, '')


def test_many_mistakes_are_a_line_each(tmp_path):
  body = ('from official_ext.mistakes import ConfigurationError; '
          "raise ConfigurationError(['first', 'second'])")
  done = run(tmp_path, body)
  assert done.returncode == 2
  assert done.stderr == 'error: 2 mistakes:\n  first\n  second\n'


def test_one_mistake_is_one_line(tmp_path):
  body = ('from official_ext.mistakes import ConfigurationError; '
          "raise ConfigurationError(['only'])")
  assert run(tmp_path, body).stderr == 'error: only\n'


def test_debug_shows_the_trace(tmp_path):
  done = run(tmp_path, "raise ValueError('no')", '--debug')
  assert done.returncode == 2
  assert done.stderr.startswith('Traceback (most recent call last):')
  assert done.stderr.endswith('error: no\n')


@pytest.mark.parametrize('arguments, message', [
    (['--sise=3'],
     "error: Unknown command line flag 'sise'. Did you mean: size ? (--help "
     'lists the flags)\n'),
    (['--size=x'],
     "error: flag --size=x: invalid literal for int() with base 10: 'x' (--help "
     'lists the flags)\n'),
    (['stray'],
     "error: unexpected argument 'stray'; every value belongs to a flag (--help "
     'lists the flags)\n'),
])
def test_bad_flags(tmp_path, arguments, message):
  done = run(tmp_path, 'pass', *arguments)
  assert (done.returncode, done.stderr) == (2, message)


def test_positional_arguments_reach_the_command(tmp_path):
  done = run(tmp_path, 'print(dirs)', 'a', '--size=2', 'b', parameters='dirs',
             extra=", arguments='MODEL_DIR...'")
  assert done.stdout == "['a', 'b']\n"


def test_log_noise_is_off_unless_the_user_or_debug_wants_it(tmp_path, monkeypatch):
  monkeypatch.delenv('TF_CPP_MIN_LOG_LEVEL', raising=False)
  body = "import os; print(os.environ.get('TF_CPP_MIN_LOG_LEVEL'))"
  assert run(tmp_path, body).stdout == '3\n'
  assert run(tmp_path, body, '--debug').stdout == 'None\n'
  monkeypatch.setenv('TF_CPP_MIN_LOG_LEVEL', '0')
  assert run(tmp_path, body).stdout == '0\n'


def test_did_you_mean():
  assert did_you_mean('STACK', ['stack', 'scratch']) == "; did you mean 'stack'?"
  assert did_you_mean('x', ['b', 'a']) == '; known: a, b'
  assert did_you_mean('x', []) == ''
  assert did_you_mean('x', [f'{i:02}' for i in range(13)]).endswith('11, …')


def test_one_line():
  assert one_line(ValueError('two\n  lines')) == 'two lines'
  assert one_line(ValueError()) == 'ValueError'
  assert one_line('clear \x1b[2J, turn \u202e, é \U0001f600') == (
      r'clear \x1b[2J, turn \u202e, é ' '\U0001f600')


def test_a_configuration_error_counts():
  assert str(ConfigurationError(['a', 'b'])) == '2 mistakes:\n  a\n  b'


def test_configuration_is_checked_without_tensorflow():
  # Mistakes are to come at once, and before any device is taken.
  code = ('import sys, official_ext.configuration; '
          'sys.exit("tensorflow" in sys.modules)')
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
