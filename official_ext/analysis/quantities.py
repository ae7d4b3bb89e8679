"""Numbers as people read them: three significant digits and a unit."""

_PREFIXES = ((1e18, 'E'), (1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M'),
             (1e3, 'k'))
_SECONDS = ((86400.0, 'days'), (3600.0, 'h'), (60.0, 'min'), (1.0, 's'),
            (1e-3, 'ms'))


def scale_of(largest: float) -> tuple[float, str]:
  """Factor and SI prefix in which numbers up to `largest` are short."""
  for factor, prefix in _PREFIXES:
    if abs(largest) >= factor:
      return factor, prefix
  return 1.0, ''


def seconds_scale_of(largest: float) -> tuple[float, str]:
  """Seconds a unit, and the unit's symbol, for durations up to `largest`."""
  for factor, unit in _SECONDS:
    # "90 s" says more than "1.5 min", and "36 h" than "1.5 days".
    if largest >= (2 * factor if factor > 1 else factor):
      return factor, unit
  return _SECONDS[-1]


def three_digits(value: float) -> str:
  """`1234.5` -> `1,234`; `12.345` -> `12.3`; `0.012345` -> `0.0123`."""
  size = abs(value)
  if size >= 100 or value == 0:
    return f'{value:,.0f}'
  if size >= 10:
    return f'{value:.1f}'
  if size >= 1:
    return f'{value:.2f}'
  return f'{value:.3g}'


def with_prefix(value: float, unit: str = '') -> str:
  """`1.1e8` -> `110 M`; a unit goes right behind the prefix."""
  # First of all: 999.7e9 is 1.00 T, not 1,000 G.
  value = float(f'{value:.3g}')
  factor, prefix = scale_of(value)
  suffix = prefix + unit
  return f'{three_digits(value / factor)}\N{NO-BREAK SPACE}{suffix}'.rstrip()


def duration(seconds: float) -> str:
  factor, unit = seconds_scale_of(seconds)
  return f'{three_digits(seconds / factor)}\N{NO-BREAK SPACE}{unit}'


def percent(fraction: float, digits: int = 1) -> str:
  return f'{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%'


def speedup(fraction: float) -> str:
  """`1.02` -> `+102 %`, as the papers write it."""
  text = f'{100 * fraction:+.0f}\N{NO-BREAK SPACE}%'
  return text.replace('-', '\N{MINUS SIGN}')


def tiny(value: float) -> str:
  """A difference that ought to be zero: `1.2e-07`, `0.35`, or `0`."""
  if value == 0 or abs(value) >= 0.01:
    return three_digits(value)
  return f'{value:.1e}'
