"""Compiles for TPUs, where jax and libtpu are."""

import pytest

from official_ext import configuration
from official_ext import gin_source
from official_ext.analysis import cost_plan
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight import optimized_hlo
from official_ext.analysis.preflight.estimate_cache import EstimateCache
from official_ext.analysis.preflight.tpu_compiler import MissingCompilerError
from official_ext.analysis.preflight.tpu_compiler import TpuCompiler

_PRODUCT = '''module @step {
  func.func @main(%a: tensor<512x256xbf16>, %b: tensor<256x128xbf16>) -> tensor<512x128xf32> {
    %0 = stablehlo.dot %a, %b : (tensor<512x256xbf16>, tensor<256x128xbf16>) -> tensor<512x128xf32> loc("bert/cls/MatMul")
    return %0 : tensor<512x128xf32>
  }
}
'''
_TINY = [name for name in gin_source.packaged_files()
         if name.startswith('experiments/') and name.endswith('_tiny.gin')]
# What has to be set; programs do not depend on it.
_REQUIRED = {
    'experiments/bert2bert_tiny.gin': ["INIT_CHECKPOINT = ''"],
    'experiments/bert2bert_gpt_tiny.gin': ["INIT_CHECKPOINT = ''"],
    'experiments/data_truncation_tiny.gin': ["SHORT_DATA_DIR = 'later'"]}


@pytest.fixture(name='compiler', scope='module')
def _compiler(tmp_path_factory):
  cache = EstimateCache(tmp_path_factory.mktemp('cache'))
  try:
    return TpuCompiler(cache)
  except MissingCompilerError as error:
    pytest.skip(str(error))


def test_a_product_is_compiled_once_and_has_cycles(compiler, monkeypatch):
  result, optimized = compiler.compile(_PRODUCT, 'v3:2x2')
  assert result['flops'] == pytest.approx(2 * 512 * 256 * 128, rel=0.02)
  arguments = 2 * (512 * 256 + 256 * 128)
  assert result['memory']['argument'] == arguments
  costs = optimized_hlo.operation_cycles(optimized)
  assert {cost.operation for cost in costs} == {'bert/cls/MatMul'}
  # One matrix unit pass at least: two units of 128 x 128 on a core.
  assert sum(cost.cycles for cost in costs) >= 512 * 256 * 128 / (2 * 128**2)
  monkeypatch.setattr(TpuCompiler, '_run', None)
  assert compiler.compile(_PRODUCT, 'v3:2x2') == (result, optimized)


def test_what_does_not_parse_is_an_error_that_names_it(compiler):
  result, optimized = compiler.compile(
      _PRODUCT.replace('stablehlo.dot', 'stablehlo.blot'), 'v3:2x2')
  assert 'stablehlo.blot' in result['error'] and optimized is None


@pytest.mark.slow
@pytest.mark.parametrize('topology', ['v3:2x2', 'v4:2x2x1', 'v5e:2x2'])
@pytest.mark.parametrize('name', _TINY)
def test_every_tiny_experiment_compiles(name, topology, compiler):
  config, _ = configuration.load_config(
      [name], _REQUIRED.get(name, ()), require_directories=False)
  topology = Topology.parse(topology)
  plan = cost_plan.make_plan(
      config, num_cores=2, topology=topology, compiler=compiler)
  for stage in plan.stages:
    assert stage.compiled.error is None, stage.stage.name
    assert 0 < stage.memory_bytes < topology.chip.core_memory_bytes
    # Our own formula; the compiler counts what is elementwise, too.
    assert 2 * stage.compiled.product_flops == pytest.approx(
        stage.train_flops, rel=0.02)
    assert stage.compiled.flops > stage.compiled.product_flops
    assert stage.compiled.seconds()['attention'] > 0
