"""Compares finished runs with a baseline: what they saved, and what they lost.

  python -m official_ext.compare runs/scratch runs/compound_grow \\
      --output_dir=runs/comparison

Writes `comparison.html`, one page that needs nothing else, with its pictures
and its tables (JSON, CSV, LaTeX) beside it. The first run is the baseline.
"""

from absl import flags

from official_ext.command import run_command

_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Where the page, the pictures and the tables go.',
    required=True)
_LOSS = flags.DEFINE_multi_float(
    'loss', [], 'Held-out loss to which time and FLOPs are given; may be '
    'repeated. By default a few round ones that all runs reach.')
_FORCE = flags.DEFINE_bool(
    'force', False, 'Compare runs although they differ in their data, '
    'vocabulary, target or batch; the page says in what.')


def main(paths: list[str]) -> None:
  """Compares, writes, and prints the headline."""
  # Imported here so that --help comes at once.
  from official_ext.analysis import comparison_page
  from official_ext.analysis import quantities

  comparison = comparison_page.write_comparison(
      paths, _OUTPUT_DIR.value, losses=_LOSS.value, force=_FORCE.value)

  def speedup(run, quantity):
    value = comparison.speedup(run, quantity)
    return 'not known' if value is None else quantities.speedup(value)

  for run in comparison.runs[1:]:
    print(f'{run.name} over {comparison.baseline.name}: '
          f'{speedup(run, "flops")} in FLOPs, '
          f'{speedup(run, "seconds")} in walltime, '
          f'{speedup(run, "profiled")} in step times by the profiler')
  print(f'comparison: {comparison_page.page_path(_OUTPUT_DIR.value)}')


if __name__ == '__main__':
  run_command(main, arguments='BASELINE RUN...')
