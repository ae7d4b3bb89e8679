"""The sheet that all pictures are drawn on, and how they are kept."""

import io

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = '#1f2937'
MUTED = '#6b7280'
RULE = '#d1d5db'

# Inches.
WIDE, HALF = (9.6, 4.0), (5.6, 3.8)
_DOTS_PER_INCH = 160


def new_figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
  """Empty axes in the house's style; `size` in inches."""
  figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout='constrained',
                  facecolor='white')
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  for side in ('top', 'right', 'left'):
    axes.spines[side].set_visible(False)
  axes.spines['bottom'].set_color(RULE)
  axes.tick_params(colors=MUTED, length=0, labelsize=10)
  axes.tick_params(axis='x', length=4, color=RULE)
  axes.grid(axis='y', color='white', linewidth=1.2)
  axes.set_axisbelow(True)
  return figure, axes


def png(figure: Figure) -> bytes:
  """The picture as a file."""
  buffer = io.BytesIO()
  # No software version: the same run gives the same bytes.
  figure.savefig(buffer, format='png', metadata={'Software': None})
  return buffer.getvalue()
