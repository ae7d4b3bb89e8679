"""The pictures of a comparison: losses on shared axes, and where time goes."""

from collections.abc import Callable, Sequence

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.container import BarContainer

from official_ext.analysis import profile_trace
from official_ext.analysis import quantities
from official_ext.analysis.canvas import HALF
from official_ext.analysis.canvas import INK
from official_ext.analysis.canvas import MUTED
from official_ext.analysis.canvas import new_figure
from official_ext.analysis.canvas import png
from official_ext.analysis.canvas import RULE
from official_ext.analysis.canvas import WIDE
from official_ext.analysis.comparison import ComparedRun
from official_ext.analysis.comparison import Comparison
from official_ext.analysis.comparison import LossPoint

# The baseline is grey.
RUN_COLORS = ('#6b7280', '#b4451f', '#1f5f99', '#3f7d3a', '#7d4f9e', '#b08519')
SPENT_COLORS = {
    'steps': '#355881', 'tracing': '#d08a3c', 'growth': '#b4451f',
    'checkpoints': '#7b97b8', 'other': '#d1d5db', 'evaluation': '#e4e0d4',
    'profiling': '#c9bfae'}
SPENT_NAMES = {
    'steps': 'training steps', 'tracing': 'tracing and compiling',
    'growth': 'growth', 'checkpoints': 'checkpoints', 'other': 'start-up, other',
    'evaluation': 'evaluation', 'profiling': 'profiling'}
_PART_COLORS = {'device': '#1f3f63', 'host': '#56779f', 'input': '#d08a3c',
                'other': '#d1d5db'}
_PART_NAMES = {'device': 'device computes', 'host': 'host computes',
               'input': 'waits for input', 'other': 'other'}
_PANEL = '#f4f6f9'
# Inches of height a bar, and around them.
_BAR, _AROUND = 0.42, 1.35
# Share of the loss axis that the steep beginning may take.
_LATER_PART = 0.12


def color_of(index: int) -> str:
  """The colour of a run, by its place in the comparison."""
  return RUN_COLORS[index % len(RUN_COLORS)]


def draw(comparison: Comparison) -> dict[str, bytes]:
  """Draws all that the runs have the records for.

  Returns:
    PNG files by name, in the order in which a page shows them.
  """
  pictures = {}
  if any(run.points for run in comparison.runs):
    pictures['loss_by_step.png'] = _losses(
        comparison, WIDE, lambda point: point.step, 1.0, 'steps')
    most = max(point.flops for run in comparison.runs for point in run.points)
    factor, prefix = quantities.scale_of(most)
    pictures['loss_by_flops.png'] = _losses(
        comparison, HALF, lambda point: point.flops, factor,
        f'training FLOPs ({prefix}FLOP)')
    most = max(point.seconds for run in comparison.runs for point in run.points)
    factor, unit = quantities.seconds_scale_of(most)
    pictures['loss_by_walltime.png'] = _losses(
        comparison, HALF, lambda point: point.seconds, factor,
        f'walltime without evaluation ({unit})')
  if any(times.median_seconds for run in comparison.runs for times in run.stages):
    pictures['step_times.png'] = _step_times(comparison)
  pictures['walltime.png'] = _walltime(comparison)
  return pictures


def _losses(comparison: Comparison, size: tuple[float, float],
            amount: Callable[[LossPoint], float], factor: float, label: str
            ) -> bytes:
  figure, axes = new_figure(size)
  axes.set_facecolor(_PANEL)
  for index, run in enumerate(comparison.runs):
    _draw_loss(axes, run, color_of(index), lambda p: amount(p) / factor)
  _limit_losses(axes, comparison.runs)
  axes.set_xlim(left=0)
  for loss in comparison.losses:
    axes.axhline(loss, color=RULE, linewidth=1, linestyle=(0, (5, 3)), zorder=1)
  axes.set_xlabel(label, color=MUTED, fontsize=10.5, labelpad=6)
  axes.set_title('held-out loss', color=INK, fontsize=11, loc='left', pad=8)
  if factor == 1.0:
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.0f}'))
  axes.legend(loc='upper right', frameon=False, fontsize=9.5, labelcolor=MUTED,
              handlelength=1.8)
  return png(figure)


def _draw_loss(axes: Axes, run: ComparedRun, color: str,
               x_of: Callable[[LossPoint], float]) -> None:
  if not run.points:
    return
  axes.plot([x_of(point) for point in run.points],
            [point.loss for point in run.points], color=color, linewidth=1.8,
            marker='o', markersize=3.2, label=run.name, zorder=3)
  grown = [growth['step'] for growth in run.summary.growths]
  # The second of the two losses at a growth is the grown model's.
  after = [later for earlier, later in zip(run.points, run.points[1:])
           if earlier.step == later.step and later.step in grown]
  if after:
    for point in after:
      axes.axvline(x_of(point), color=color, linewidth=0.8, alpha=0.45,
                   linestyle=(0, (1, 2)), zorder=1)
    axes.plot([x_of(point) for point in after], [point.loss for point in after],
              linestyle='', marker='^', markersize=9, color=color,
              markeredgecolor='white', markeredgewidth=1, zorder=4,
              label=f'{run.name} grows')


def _limit_losses(axes: Axes, runs: Sequence[ComparedRun]) -> None:
  """Leaves room for the part where the runs differ: the first points may go."""
  losses = [point.loss for run in runs for point in run.points]
  later = [point.loss for run in runs for point in run.points
           if point.step > _LATER_PART * run.summary.num_steps]
  low, high = min(losses), max(later or losses)
  margin = 0.06 * (high - low) or 0.1
  axes.set_ylim(low - margin, high + 2 * margin)


def _step_times(comparison: Comparison) -> bytes:
  rows = [(f'{run.name}: {times.stage.name.replace("_", " ")}', times)
          for run in comparison.runs for times in run.stages
          if times.median_seconds is not None]
  factor, unit = quantities.seconds_scale_of(
      max(times.p90_seconds for _, times in rows))
  figure, axes = new_figure((WIDE[0], _AROUND + _BAR * len(rows)))
  for index, (_, times) in enumerate(rows):
    left, median = 0.0, times.median_seconds / factor
    for part in profile_trace.PARTS:
      width = median * times.shares[part]
      axes.barh(index, width, left=left, height=0.62, color=_PART_COLORS[part],
                label=None if index else _PART_NAMES[part])
      left += width
    p90 = times.p90_seconds / factor
    axes.plot([median, p90], [index, index], color=INK, linewidth=1)
    axes.plot(p90, index, marker='|', markersize=9, color=INK, linestyle='',
              label=None if index else '90 % of the steps are within')
    axes.text(p90, index, f'  {quantities.duration(times.median_seconds)}, '
              f'90 %: {quantities.duration(times.p90_seconds)}',
              va='center', fontsize=9.5, color=INK)
  _finish_bars(axes, [label for label, _ in rows],
               f'step time, median ({unit})', 'Step times by the profiler')
  axes.set_xlim(0, 1.3 * max(t.p90_seconds for _, t in rows) / factor)
  return png(figure)


def _walltime(comparison: Comparison) -> bytes:
  runs = comparison.runs
  totals = [sum(run.spent_seconds.values()) for run in runs]
  factor, unit = quantities.seconds_scale_of(max(totals) or 1.0)
  figure, axes = new_figure((WIDE[0], _AROUND + 0.2 + 1.3 * _BAR * len(runs)))
  lefts = [0.0] * len(runs)
  for kind, color in SPENT_COLORS.items():
    widths = [run.spent_seconds.get(kind, 0.0) / factor for run in runs]
    if any(widths):
      axes.barh(range(len(runs)), widths, left=lefts, height=0.62, color=color,
                label=SPENT_NAMES[kind])
      lefts = [left + width for left, width in zip(lefts, widths)]
  for index, total in enumerate(totals):
    axes.text(lefts[index], index, f'  {quantities.duration(total)}',
              va='center', fontsize=9.5, color=INK)
  _finish_bars(axes, [run.name for run in runs], f'walltime ({unit})',
               'Where the time went')
  axes.set_xlim(0, 1.12 * max(lefts) or 1)
  return png(figure)


def _finish_bars(axes: Axes, labels: Sequence[str], x_label: str, title: str
                 ) -> None:
  axes.set_yticks(range(len(labels)), labels, color=INK)
  axes.invert_yaxis()
  axes.grid(visible=False)
  axes.set_xlabel(x_label, color=MUTED, fontsize=10.5, labelpad=6)
  handles, names = axes.get_legend_handles_labels()
  # Bars first: what else is in the legend explains them.
  order = sorted(range(len(names)), key=lambda i: not isinstance(
      handles[i], BarContainer))
  legend = axes.figure.legend(
      [handles[i] for i in order], [names[i] for i in order],
      loc='outside upper left', ncols=len(names), title=title, alignment='left',
      frameon=False, fontsize=9, title_fontsize=11, labelcolor=MUTED,
      handlelength=1, handleheight=1, columnspacing=1.3, handletextpad=0.5)
  legend.get_title().set_color(INK)
