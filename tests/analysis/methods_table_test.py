"""docs/methods.md says of each method what `plan` counts."""

import pathlib
import re

import pytest

from official_ext.analysis import cost_plan
from official_ext.configuration import load_config

_ROOT = pathlib.Path(__file__).parents[2]
# What a plan needs no real value of.
_PATHS = {'bert2bert': "INIT_CHECKPOINT = ''",
          'data_truncation': "SHORT_DATA_DIR = ''"}


def _rows() -> dict[str, str]:
  """Schedule to FLOPs, of the rows that have a published-size experiment."""
  found = {}
  for line in (_ROOT / 'docs/methods.md').read_text().splitlines():
    cells = [cell.strip() for cell in line.split('|')]
    if len(cells) == 8 and cells[5].endswith('%'):
      name = re.match(r'`(\w+)`', cells[4])[1]
      if (_ROOT / f'gin_configs/experiments/{name}_base.gin').exists():
        found[name] = cells[5]
  return found


def test_table_is_found():
  assert len(_rows()) == 10


@pytest.mark.parametrize('name', _rows())
def test_figure_is_the_plans(name):
  config, _ = load_config(
      [f'experiments/{name}_base.gin'], [_PATHS[name]] if name in _PATHS else [],
      require_directories=False)
  plan = cost_plan.make_plan(config, num_cores=128)
  savings = cost_plan.savings(plan, cost_plan.full_model_plan(plan))
  assert _rows()[name] == f'{100 * savings.train_flops:+.0f} %'
