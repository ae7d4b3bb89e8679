"""Prints CompoundGrow's Table 2 beside what is planned for the same runs here.

  python -m official_ext.compound_grow_table2 --tpu_topology=v3:8x8 \\
      --gin_params="PRECISION = 'mixed_bfloat16'"

The paper's figures were measured; ours are FLOPs by formula, and, with a
topology, times that the TPU compiler estimates. The paper ran on 64 chips of
TPU v3, two sequences a core.
"""

import json
import sys

from absl import flags

from official_ext.command import run_command

_TPU_TOPOLOGY = flags.DEFINE_string(
    'tpu_topology', None, 'Chips to estimate times for; the paper had v3:8x8. '
    'Takes long the first time. FLOPs only if not given.')
_GIN_PARAMS = flags.DEFINE_multi_string(
    'gin_params', [], 'Settings of all the runs, such as "PRECISION = '
    '\'mixed_bfloat16\'".')
_SIZE = flags.DEFINE_multi_enum(
    'size', ['base', 'large'], ['base', 'large'], 'Which models.')
_CACHE_DIR = flags.DEFINE_string(
    'cache_dir', None, 'As for `python -m official_ext.plan`.')
_TPU_PYTHON = flags.DEFINE_string(
    'tpu_python', None, 'As for `python -m official_ext.plan`.')
_MARKDOWN = flags.DEFINE_bool(
    'markdown', False, 'Print the table for a document.')
_JSON = flags.DEFINE_bool('json', False, 'Print JSON for machines.')


def main() -> None:
  """Plans the runs of the table, and prints."""
  # Imported here so that --help comes at once.
  from official_ext import configuration
  from official_ext.analysis import table2
  from official_ext.analysis.accelerators import Topology

  topology = compiler = None
  if _TPU_TOPOLOGY.value:
    from official_ext.analysis.preflight.estimate_cache import EstimateCache
    from official_ext.analysis.preflight.tpu_compiler import TpuCompiler
    topology = Topology.parse(_TPU_TOPOLOGY.value)
    compiler = TpuCompiler(
        EstimateCache(_CACHE_DIR.value), _TPU_PYTHON.value,
        lambda line: print(f'preflight: {line}', file=sys.stderr, flush=True))

  def load(experiment, params):
    config, _ = configuration.load_config(
        [f'experiments/{experiment}.gin'], [*_GIN_PARAMS.value, *params],
        require_directories=False)
    return config

  rows = [table2.make_row(published, load, topology=topology, compiler=compiler)
          for published in table2.PUBLISHED
          if published.experiment.rsplit('_')[-1] in _SIZE.value]
  if _JSON.value:
    print(json.dumps([row.to_json() for row in rows], indent=2))
  else:
    print(table2.render(rows, topology, is_markdown=_MARKDOWN.value))


if __name__ == '__main__':
  run_command(main)
