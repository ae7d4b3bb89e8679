"""The pictures of one run: loss and accuracy, with the growths marked."""

from collections.abc import Sequence
import itertools

from matplotlib import ticker
from matplotlib.axes import Axes
import numpy as np

from official_ext.analysis import quantities
from official_ext.analysis.canvas import HALF
from official_ext.analysis.canvas import INK
from official_ext.analysis.canvas import MUTED
from official_ext.analysis.canvas import new_figure
from official_ext.analysis.canvas import png
from official_ext.analysis.canvas import RULE
from official_ext.analysis.canvas import WIDE
from official_ext.analysis.run_summary import RunSummary

TRAIN = '#8fb3d9'
HELD_OUT = '#b4451f'
# Stages alternate, so that a boundary shows where it is not labelled.
STAGE_TINTS = ('#f4f6f9', '#e9edf3')

# Share of the height above the curves that the stages' names get.
_HEADROOM = 0.16


def draw(run: RunSummary) -> dict[str, bytes]:
  """Draws all that the run has the records for.

  Returns:
    PNG files by name, in the order in which a page shows them.
  """
  pictures = {'loss_by_step.png': _by_step(
      run, run.loss_metric, run.loss_name, WIDE)}
  if run.train or run.held_out:
    pictures['loss_by_flops.png'] = _by_flops(run)
    pictures['loss_by_walltime.png'] = _by_walltime(run)
  if any(run.accuracy_metric in record for record in run.train + run.held_out):
    pictures['accuracy_by_step.png'] = _by_step(
        run, run.accuracy_metric, run.accuracy_name, WIDE, is_share=True)
  return pictures


def _by_step(run: RunSummary, key: str, label: str, size: tuple[float, float],
             is_share: bool = False) -> bytes:
  figure, axes = new_figure(size)
  axes.set_xlim(0, run.num_steps)
  _plot_curves(axes, run, 'step', 1, key)
  if is_share:
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    axes.set_ylim(bottom=0)
    _mark_most_frequent_token(axes, run)
  else:
    _mark_unigram(axes, run)
  _finish(axes, run, [stage.end_step for stage in run.stages], 'steps', label)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
  axes.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.0f}'))
  return png(figure)


def _by_flops(run: RunSummary) -> bytes:
  figure, axes = new_figure(HALF)
  factor, prefix = quantities.scale_of(run.full_model_flops)
  spent = np.cumsum([stage.flops for stage in run.stages])
  _plot_curves(axes, run, 'train_flops', factor, run.loss_metric)
  _mark_unigram(axes, run)
  _mark_full_model(axes, run, run.full_model_flops / factor, spent[-1] / factor)
  _finish(axes, run, list(spent / factor), f'training FLOPs ({prefix}FLOP)',
          run.loss_name)
  return png(figure)


def _by_walltime(run: RunSummary) -> bytes:
  figure, axes = new_figure(HALF)
  is_estimated = run.is_finished and run.walltime_speedup is not None
  last = run.wall_seconds or 1.0
  # As if evaluation and start-up grew alike, so that the page has one number.
  full = last * (1 + run.walltime_speedup) if is_estimated else last
  factor, unit = quantities.seconds_scale_of(max(last, full))
  _plot_curves(axes, run, 'wall_seconds', factor, run.loss_metric)
  _mark_unigram(axes, run)
  ends = [_wall_seconds_at_end(run, stage) / factor for stage in run.stages]
  if is_estimated:
    _mark_full_model(axes, run, full / factor, last / factor, 'estimate')
  else:
    axes.set_xlim(0, last / factor)
  _finish(axes, run, ends, f'walltime ({unit})', run.loss_name)
  return png(figure)


def _wall_seconds_at_end(run: RunSummary, stage) -> float:
  """When a stage ended; the last record's time if it is the last or goes on."""
  for record in run.train if stage is not run.stages[-1] else ():
    if record['step'] >= stage.end_step and 'wall_seconds' in record:
      return record['wall_seconds']
  return run.wall_seconds or 0.0


def _plot_curves(axes: Axes, run: RunSummary, x_key: str, x_factor: float,
                 y_key: str) -> None:
  def points(records):
    pairs = [(record[x_key] / x_factor, record[y_key]) for record in records
             if record.get(x_key) is not None and record.get(y_key) is not None]
    return [list(column) for column in zip(*pairs)] or [[], []]

  axes.plot(*points(run.train), color=TRAIN, linewidth=1.8, label='training',
            solid_joinstyle='round', zorder=3,
            marker='o' if len(run.train) < 2 else None, markersize=4)
  axes.plot(*points(run.held_out), color=HELD_OUT, linestyle='', marker='o',
            markersize=6, markeredgecolor='white', markeredgewidth=0.9,
            label='held out', zorder=5,
            # The last point lies on the edge.
            clip_on=False)
  for before, after in itertools.pairwise(run.held_out):
    # The jump of a growth. Between growths there is nothing to connect.
    if before['step'] == after['step']:
      axes.plot(*points([before, after]), color=HELD_OUT, linewidth=1.4, zorder=4)


def _mark_most_frequent_token(axes: Axes, run: RunSummary) -> None:
  accuracy = (run.last_held_out or {}).get('most_frequent_token_accuracy')
  if accuracy is not None:
    axes.axhline(accuracy, color=MUTED, linewidth=1, linestyle=(0, (5, 3)),
                 label='always the most frequent token', zorder=2)


def _mark_unigram(axes: Axes, run: RunSummary) -> None:
  if run.unigram is not None:
    axes.axhline(run.unigram.cross_entropy, color=MUTED, linewidth=1,
                 linestyle=(0, (5, 3)), label='unigram level', zorder=2)


def _mark_full_model(axes: Axes, run: RunSummary, full: float, spent: float,
                     note: str = '') -> None:
  """Where the same number of steps of the full model would end."""
  axes.set_xlim(0, max(full, spent) * 1.02)
  if len(run.stages) < 2 or full <= spent:
    return
  axes.axvline(full, color=MUTED, linewidth=1.2, linestyle=(0, (5, 3)), zorder=2)
  text = 'full model,\nevery step' + (f'\n({note})' if note else '')
  where = axes.get_xaxis_transform()
  axes.annotate(
      text, (full, 0.62), xycoords=where, xytext=(-7, 0),
      textcoords='offset points', ha='right', va='center', fontsize=9.5,
      color=MUTED, linespacing=1.35, zorder=4,
      # The unigram level may lie behind it.
      bbox=dict(facecolor=axes.get_facecolor(), edgecolor='none', pad=1.5))
  if full > 1.25 * spent:
    axes.annotate(
        '', (full, 0.36), xytext=(spent, 0.36), xycoords=where, textcoords=where,
        arrowprops=dict(arrowstyle='<->', color=INK, linewidth=1, shrinkA=3,
                        shrinkB=3))
    axes.text((full + spent) / 2, 0.385, quantities.speedup(full / spent - 1),
              transform=where, ha='center', va='bottom', fontsize=11, color=INK)


def _finish(axes: Axes, run: RunSummary, stage_ends: Sequence[float],
            x_label: str, y_label: str) -> None:
  """Stages, labels and legend, once the curves have set the limits."""
  low, high = axes.get_ylim()
  axes.set_ylim(low, high + _HEADROOM * (high - low))
  axes.set_xlabel(x_label, color=MUTED, fontsize=10.5, labelpad=6)
  axes.set_title(y_label, color=INK, fontsize=11, loc='left', pad=8)
  _mark_stages(axes, run, stage_ends)
  if run.train or run.held_out:
    axes.legend(loc='lower right', bbox_to_anchor=(1, 1), ncols=3, frameon=False,
                fontsize=9.5, labelcolor=MUTED, borderaxespad=0.2,
                handlelength=1.8, columnspacing=1.4)
  else:
    axes.text(0.5, 0.45, 'nothing recorded yet', transform=axes.transAxes,
              ha='center', color=MUTED, fontsize=11)
    axes.set_yticks([])


def _mark_stages(axes: Axes, run: RunSummary, ends: Sequence[float]) -> None:
  """Tints the stages and names them along the top, where a name has room."""
  axes.figure.draw_without_rendering()
  pixels = axes.transData
  start = 0.0
  for stage, end in zip(run.stages, ends):
    if end <= start:
      continue
    axes.axvspan(start, end, color=STAGE_TINTS[stage.index % 2], linewidth=0,
                 zorder=0)
    if stage.index:
      axes.axvline(start, color=RULE, linewidth=1, zorder=1)
    room = (pixels.transform((end, 0)) - pixels.transform((start, 0)))[0]
    for text in (stage.name.replace('_', ' '), str(stage.index + 1)):
      label = axes.text((start + end) / 2, 0.955, text, ha='center', va='top',
                        transform=axes.get_xaxis_transform(), fontsize=9.5,
                        color=MUTED)
      if label.get_window_extent().width < 0.92 * room:
        break
      label.remove()
    start = end
