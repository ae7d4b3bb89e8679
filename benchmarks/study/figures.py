"""The figures of `docs/evidence.md`."""

from collections.abc import Mapping, Sequence
import pathlib

import numpy as np

from benchmarks.study.arm_results import ArmResult

# Group to title, and the arms that are drawn: more lines cannot be read.
CURVES = {
    'table2': ('Growth against training from scratch (BERT 4 x 128)', (
        'bert/scratch', 'bert/scratch_restarts_compound', 'bert/stack',
        'bert/compound_grow', 'bert/compound_grow_k2')),
    'depth': ('Growth in depth', (
        'bert/scratch', 'bert/stack_bert_append', 'bert/mslt', 'bert/midas',
        'bert/g_stack', 'bert/late_jump_80_wsd', 'bert/scratch_wsd')),
    'width': ('Growth in width, from 4 x 64', (
        'bert/scratch', 'bert/width_direct_copy', 'bert/width_net2net',
        'bert/width_fpi', 'bert/width_aki')),
    'gpt': ('GPT 4 x 128', (
        'gpt/scratch', 'gpt/stack', 'gpt/width_fpi', 'gpt/mslt',
        'gpt/late_jump_80_wsd')),
    'medium': ('BERT 8 x 256', (
        'medium/scratch', 'medium/stack', 'medium/compound_grow')),
}
_DIMENSIONS = ('depth', 'length', 'width', 'compound')
_SIZE_INCHES = (8, 5)


def draw(found: Mapping[str, ArmResult], directory: pathlib.Path
         ) -> list[pathlib.Path]:
  """Draws every figure that has runs; returns the paths."""
  directory.mkdir(parents=True, exist_ok=True)
  paths = []
  for group, (title, names) in CURVES.items():
    shown = [found[name] for name in names if name in found]
    if len(shown) > 1:
      paths.append(_draw_curves(
          shown, title, directory / f'evidence_{group}.png'))
  dimensions = {
      dimension: [found[name] for percent in (30, 50, 70)
                  if (name := f'bert/figure1_{dimension}_{percent}') in found]
      for dimension in _DIMENSIONS}
  if any(dimensions.values()):
    paths.append(_draw_trade_off(
        dimensions, found.get('bert/scratch'),
        directory / 'evidence_figure1.png'))
  return paths


def _axes():
  from matplotlib.figure import Figure
  figure = Figure(figsize=_SIZE_INCHES, layout='constrained')
  axes = figure.subplots()
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(alpha=0.3)
  return figure, axes


def _draw_curves(shown: Sequence[ArmResult], title: str, path: pathlib.Path
                 ) -> pathlib.Path:
  """Held-out loss against training FLOPs: mean over seeds, with their range."""
  figure, axes = _axes()
  for result in shown:
    curves = [np.array(run['curve'])[:, [1, 3]] for run in result.runs]
    flops = curves[0][:, 0]
    losses = np.array([curve[:, 1] for curve in curves])
    line, = axes.plot(
        flops, losses.mean(0), label=f'{result.arm.label} ({len(curves)})')
    axes.fill_between(flops, losses.min(0), losses.max(0), alpha=0.15,
                      color=line.get_color(), linewidth=0)
    axes.plot(flops[-1], losses[:, -1].mean(), 'o', color=line.get_color())
  lowest = min(result.loss.mean for result in shown)
  axes.set_ylim(lowest - 0.1, min(6.2, axes.get_ylim()[1]))
  axes.set(xlabel='training FLOPs, from the first step of the smallest model',
           ylabel='held-out loss (nats)', title=title)
  axes.legend(title='arm (seeds)', frameon=False)
  figure.savefig(path, dpi=100)
  return path


def _draw_trade_off(dimensions: Mapping[str, Sequence[ArmResult]],
                    scratch: ArmResult | None, path: pathlib.Path
                    ) -> pathlib.Path:
  """Final loss against the FLOPs of the whole run, a line per dimension."""
  figure, axes = _axes()
  for dimension, shown in dimensions.items():
    if shown:
      axes.errorbar(
          [result.flops for result in shown],
          [result.loss.mean for result in shown],
          yerr=[result.loss.deviation or 0 for result in shown], marker='o',
          capsize=3, label=dimension)
  if scratch is not None:
    axes.errorbar(scratch.flops, scratch.loss.mean,
                  yerr=scratch.loss.deviation or 0, marker='s', capsize=3,
                  color='black', label='scratch')
  axes.set(xlabel='training FLOPs of the run', ylabel='final held-out loss (nats)',
           title='Cheap phases of 70, 50 and 30 % of the steps')
  axes.legend(frameon=False)
  figure.savefig(path, dpi=100)
  return path
