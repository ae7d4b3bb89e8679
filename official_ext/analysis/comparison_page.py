"""`comparison.html`: one self-contained page about several runs."""

from collections.abc import Sequence
import json
import os

from official_ext.analysis import comparison_figures
from official_ext.analysis import comparison_table
from official_ext.analysis import page
from official_ext.analysis.comparison import compare_runs
from official_ext.analysis.comparison import Comparison

PAGE_FILE = 'comparison.html'


def write_comparison(
    paths: Sequence[str], output_dir: str, *, losses: Sequence[float] = (),
    force: bool = False) -> Comparison:
  """Compares runs, and writes the page, its pictures and its tables.

  Args:
    paths: run directories, the baseline first; may be remote.
    output_dir: where `comparison.html`, `.json`, `.csv`, `.tex` and the PNGs go;
      may be remote.
    losses: held-out losses to which time and FLOPs are given; by default a few
      that all runs reach.
    force: compare what cannot be compared; the page says so.

  Raises:
    ValueError: a run cannot be read, or, without `force`, compared.
  """
  comparison = compare_runs(paths, losses=losses, force=force)
  pictures = comparison_figures.draw(comparison)
  latex = comparison_table.to_latex(comparison)
  text = page.render(
      'comparison.html.jinja', comparison=comparison, latex=latex,
      pictures=page.embedded(pictures), color_of=comparison_figures.color_of,
      spent_names=comparison_figures.SPENT_NAMES)
  values = json.dumps(comparison_table.to_json(comparison), indent=2) + '\n'
  page.write_files(output_dir, pictures | {
      name: content.encode() for name, content in (
          ('comparison.json', values),
          ('comparison.csv', comparison_table.to_csv(comparison)),
          ('comparison.tex', latex), (PAGE_FILE, text))})
  return comparison


def page_path(output_dir: str) -> str:
  return os.path.join(output_dir, PAGE_FILE)
