"""The shell that every command shares: flags, help, and errors of one line."""

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence

from absl import flags

from official_ext.mistakes import one_line

FLAGS = flags.FLAGS

flags.DEFINE_bool('debug', False, 'Show the whole trace of an error, and every log line.')
flags.DEFINE_bool('help', False, 'Show this text.', short_name='h')

# The user can mend it: a flag, a value, a file.
USAGE_EXIT_CODE = 2
# The work began and failed.
FAILURE_EXIT_CODE = 1
# A signal stopped the work, which is saved: the same command goes on. EX_TEMPFAIL
# of sysexits.h.
STOPPED_EXIT_CODE = 75
# What a shell reports for a process that Ctrl-C ended.
INTERRUPTED_EXIT_CODE = 130


def run_command(
    main: Callable[..., None],
    *,
    arguments: str = '',
    argv: Sequence[str] | None = None,
) -> None:
  """Parses the flags, runs `main`, and ends the process if that fails.

  Returns only when the work is done; the process then ends with exit code 0.

  Args:
    main: the command. Called without arguments, or with the list of positional
      arguments if `arguments` is given. It imports TensorFlow inside, so that
      `--help` and mistakes in flags answer at once.
    arguments: how the usage line names the positional arguments, for instance
      `MODEL_DIR...`; empty if the command takes none.
    argv: program name and arguments; `sys.argv` by default.

  Raises:
    SystemExit: an error's own `exit_code` if it has one, 2 for what the user
      can mend (ValueError, OSError, ImportError, bad flags), 1 for any other
      error, 130 for Ctrl-C, 0 after `--help`.
  """
  argv = list(sys.argv if argv is None else argv)
  try:
    positional = FLAGS(argv)[1:]
  except flags.Error as error:
    # A required flag that is missing must not hide the help.
    if not {'--help', '-h', '-help'} & set(argv):
      _exit(f'{_flag_message(error)} (--help lists the flags)', USAGE_EXIT_CODE)
    FLAGS.mark_as_parsed()
    FLAGS.help = True
  if FLAGS.help:
    print(_help(argv[0], arguments))
    sys.exit(0)
  if positional and not arguments:
    _exit(
        f'unexpected argument {positional[0]!r}; every value belongs to a flag '
        '(--help lists the flags)', USAGE_EXIT_CODE)
  quieten(FLAGS.debug)
  try:
    if arguments:
      main(positional)
    else:
      main()
  except KeyboardInterrupt:
    _exit('interrupted', INTERRUPTED_EXIT_CODE)
  except Exception as error:  # pylint: disable=broad-except
    # The outermost frame of the program: here every error becomes one line.
    if FLAGS.debug:
      traceback.print_exc()
    _exit(*_describe(error))


def quieten(debug: bool = False) -> None:
  """Silences the start-up chatter of TensorFlow and its dependencies.

  Has to run before TensorFlow is imported. What the user set in
  `TF_CPP_MIN_LOG_LEVEL` stays.

  Args:
    debug: keep every line.
  """
  if debug:
    return
  # 3, because "failed call to cuInit" on a machine without a GPU and "Unable to
  # register cuFFT factory" on one with a GPU are logged as errors. Real errors
  # reach Python as exceptions.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  logging.getLogger('tensorflow').setLevel(logging.ERROR)
  logging.getLogger('absl').setLevel(logging.ERROR)
  # google.api_core warns of the end of support of the Python in use.
  warnings.filterwarnings(
      'ignore', category=FutureWarning, module=r'google\..*')
  # tensorflow_hub, which Model Garden imports, reads its version with it.
  warnings.filterwarnings(
      'ignore', category=UserWarning, message='pkg_resources is deprecated')


def _describe(error: Exception) -> tuple[str, int]:
  """The line to print for an error, and the exit code."""
  mistakes = getattr(error, 'mistakes', None)
  if isinstance(mistakes, tuple) and len(mistakes) > 1:
    lines = [one_line(mistake) for mistake in mistakes]
    return '\n  '.join([f'{len(lines)} mistakes:', *lines]), USAGE_EXIT_CODE
  if isinstance(error, ImportError):
    return (f'{_message(error)}; `python -m official_ext.doctor` shows what is '
            'missing'), USAGE_EXIT_CODE
  if hasattr(error, 'exit_code'):
    return _message(error), error.exit_code
  if isinstance(error, (ValueError, OSError)):
    return _message(error), USAGE_EXIT_CODE
  return (f'{type(error).__name__}: {_message(error)} (--debug shows the whole '
          'trace)'), FAILURE_EXIT_CODE


def _message(error: Exception) -> str:
  """Path and reason if the error is about a file, else its own words."""
  if isinstance(error, OSError) and error.filename is not None:
    return one_line(f'{os.fsdecode(error.filename)}: {error.strerror}')
  return one_line(error)


def _flag_message(error: flags.Error) -> str:
  """As `_message`; of a required flag what it is for."""
  missing = re.fullmatch(
      r'flag --(\w+)=None: Flag --\w+ must have a value other than None\.',
      str(error))
  if missing is None:
    return _message(error)
  name = missing[1]
  return one_line(f'--{name} is missing; its value: {FLAGS[name].help}')


def _exit(message: str, code: int) -> None:
  print(f'error: {message}', file=sys.stderr)
  sys.exit(code)


def _help(program: str, arguments: str) -> str:
  """What the command is, how it is called, and its flags."""
  main_module = sys.modules['__main__']
  main_doc = (main_module.__doc__ or '').strip()
  # Known when it was started with -m, which alone says in which package it is.
  spec = main_module.__spec__
  call = f'-m {spec.name}' if spec else os.path.basename(program)
  usage = f'Usage: python {call} [flags] {arguments}'.rstrip()
  return '\n\n'.join(
      part for part in (
          main_doc, usage, _flag_help(program), _flag_help(__name__)) if part)


def _flag_help(module: str) -> str:
  """The flags that a module defines, without absl's headline."""
  return FLAGS.module_help(module).strip('\n').partition('\n')[2].rstrip()
