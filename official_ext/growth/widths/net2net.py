"""Net2WiderNet (Chen et al., 2016): copies, drawn at random."""

import numpy as np

from official_ext.growth.named_generator import named_generator
from official_ext.growth.unit_maps import UnitMap
from official_ext.growth.widths.rule import Widening
from official_ext.growth.widths.rule import WidthRule


def copy_at_random(widening: Widening) -> UnitMap:
  """Old units stay; each added unit copies one that is drawn at random.

  Heads and feed-forward units are drawn with replacement, alike in all layers.
  Departing from Net2Net, the residual stream takes shuffled whole tiles, and
  the remainder without replacement: LayerNorm's statistics need as many copies
  of every unit.
  """
  size, added = widening.size, widening.new_size - widening.size
  generator = named_generator(widening.seed, f'net2net/{widening.group}')
  if widening.group == 'residual':
    tiles = [generator.permutation(size) for _ in range(-(-added // size))]
    drawn = np.concatenate([np.arange(0), *tiles])[:added]
  else:
    drawn = generator.integers(size, size=added)
  return UnitMap((*range(size), *drawn.tolist()))


NET2NET = WidthRule(
    copy_at_random,
    summary='new units copy old ones drawn at random (Net2Net, wider)',
    preserves='preserves the function, if every residual unit gets as many '
    'copies')
