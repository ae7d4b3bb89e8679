"""FLOPs figures in the documentation and in gin headers are what `plan` counts."""

import pathlib
import re

import pytest

from official_ext.analysis import cost_plan
from official_ext.analysis import flops
from official_ext.configuration import load_config
from official_ext.growth import Architecture

_ROOT = pathlib.Path(__file__).parents[2]
_CONFIGS = _ROOT / 'gin_configs'
_FIGURE = r'\+[\d.]+ %'
# What a plan needs no real value of.
_PATHS = {'bert2bert.gin': "INIT_CHECKPOINT = ''",
          'data_truncation.gin': "SHORT_DATA_DIR = ''"}


def _savings(files: list[str], *params: str) -> cost_plan.Savings:
  texts = ''.join((_CONFIGS / name).read_text() for name in files)
  needed = [setting for name, setting in _PATHS.items()
            if f"include 'schedules/{name}'" in texts
            or f'schedules/{name}' in files]
  config, _ = load_config(files, [*needed, *params], require_directories=False)
  plan = cost_plan.make_plan(config, num_cores=128)
  return cost_plan.savings(plan, cost_plan.full_model_plan(plan))


def _of_schedule(name: str, *params: str) -> cost_plan.Savings:
  """A schedule of `gin_configs/schedules/`, to BERT base."""
  return _savings(
      ['models/bert_base.gin', f'schedules/{name}.gin', 'runs/pretrain.gin'],
      'NUM_STEPS = 1_000_000', *params)


def _percent(speedup: float, decimals: int) -> str:
  return f'{100 * speedup:+.{decimals}f} %'


def _text(page: str) -> str:
  return ' '.join((_ROOT / page).read_text().split())


def _header(path: pathlib.Path) -> str:
  lines = path.read_text().splitlines()
  return ' '.join(' '.join(
      line.lstrip('#') for line in lines if line.startswith('#')).split())


def _methods() -> dict[str, str]:
  """Schedule -> FLOPs, of the table of methods."""
  found = {}
  for line in (_ROOT / 'docs/methods.md').read_text().splitlines():
    cells = [cell.strip() for cell in line.split('|')]
    if len(cells) == 8 and re.fullmatch(_FIGURE, cells[5]):
      found[re.match(r'`(\w+)`', cells[4])[1]] = cells[5]
  return found


def _headers() -> dict[str, list[str]]:
  """gin file -> figures of its header."""
  found = {}
  for path in sorted(_CONFIGS.glob('*/*.gin')):
    header = _header(path)
    figures = re.findall(
        rf'({_FIGURE}) speed-up in training FLOPs a step', header)
    # No figure in other words, which nothing would check.
    assert len(figures) == header.count('training FLOPs'), path
    if figures:
      found[f'{path.parent.name}/{path.name}'] = figures
  return found


def test_every_method_has_its_figure():
  assert set(_methods()) == {
      path.stem for path in _CONFIGS.glob('schedules/*.gin')
  } - {'scratch', 'compound_grow_k2', 'stack_middle'}
  assert set(_headers()) >= {
      f'experiments/{path.name}' for pattern in ('*_base.gin', '*_large.gin')
      for path in _CONFIGS.glob(f'experiments/{pattern}')
      if not path.name.startswith('scratch')}


@pytest.mark.parametrize('name', _methods())
def test_figure_of_the_table_of_methods(name):
  assert _methods()[name] == _percent(_of_schedule(name).train_flops, 0)


@pytest.mark.parametrize('name', _headers())
def test_figure_of_a_gin_header(name):
  if name.startswith('schedules/'):
    savings = _of_schedule(pathlib.Path(name).stem)
  else:
    savings = _savings([name])
  assert _headers()[name] == [_percent(savings.train_flops, 1)]


def test_forward_figures_below_the_table_of_methods():
  (figures,) = re.findall(
      rf'stacking then comes to ({_FIGURE}), MSLT to ({_FIGURE})\.',
      _text('docs/methods.md'))
  assert figures == tuple(
      _percent(_of_schedule(name).forward_flops, 0) for name in ('stack', 'mslt'))


def test_figures_of_the_report_page():
  (figures,) = re.findall(
      rf'({_FIGURE}) for CompoundGrow, ({_FIGURE}) with `ffn_sharing=2`, and '
      rf'({_FIGURE}) for stacking', _text('docs/report.md'))
  assert figures == tuple(
      _percent(_of_schedule(name).train_flops, 0)
      for name in ('compound_grow', 'compound_grow_k2', 'stack'))


def test_figures_of_table_2():
  rows = re.findall(
      rf'^\| .*, (base|large).*\(`(?:experiments/)?(\w+?)(?:\.gin)?`'
      rf'(?:, `(.*)`)?\) \| {_FIGURE} \| ({_FIGURE}) \|$',
      (_ROOT / 'docs/plan.md').read_text(), re.MULTILINE)
  assert len(rows) == 6
  for _, experiment, setting, figure in rows:
    savings = _savings(
        [f'experiments/{experiment}.gin'], *([setting] if setting else []))
    assert figure == _percent(savings.forward_flops, 1), (experiment, setting)


def test_shares_of_sub_model_steps():
  (figures,) = re.findall(
      r'by FLOPs (0\.\d\d), (0\.\d\d), (0\.\d\d), (0\.\d\d) ',
      _text('docs/benchmarks.md'))
  base = Architecture(
      num_layers=12, hidden_size=768, num_heads=12, inner_size=3072,
      vocab_size=30522, max_positions=128)
  whole = flops.train_flops(base, 20)
  parts = [
      flops.train_flops(base.replace(num_layers=depth), 20, trained_layers=3)
      for depth in (3, 6, 9, 12)]
  assert figures == tuple(f'{part / whole:.2f}' for part in parts)
