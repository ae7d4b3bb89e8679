"""Compiles for TPUs, where jax and libtpu are."""

import pytest

from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight import optimized_hlo
from official_ext.analysis.preflight.estimate_cache import EstimateCache
from official_ext.analysis.preflight.step_program import StepProgram
from official_ext.analysis.preflight.tpu_compiler import MissingCompilerError
from official_ext.analysis.preflight.tpu_compiler import TpuCompiler
from official_ext.growth.architecture import Architecture

_PRODUCT = '''module @step {
  func.func @main(%a: tensor<512x256xbf16>, %b: tensor<256x128xbf16>) -> tensor<512x128xf32> {
    %0 = stablehlo.dot %a, %b : (tensor<512x256xbf16>, tensor<256x128xbf16>) -> tensor<512x128xf32> loc("bert/cls/MatMul")
    return %0 : tensor<512x128xf32>
  }
}
'''


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


def _program(inner_size=16, max_positions=16, **fields):
  return StepProgram(
      architecture=Architecture(
          num_layers=1, hidden_size=8, num_heads=1, inner_size=inner_size,
          vocab_size=99, max_positions=max_positions),
      num_layers=None, trained_layers=None, num_predictions=3,
      precision='float32', optimizer='adamw', weight_decay_rate=0.01,
      has_warmup=True, clips_gradients=True, output_dropout=0.1,
      attention_dropout=0.1, query_pool_type='mean', use_next_sentence=False,
      **fields)


def test_micro_batches_take_less_memory_and_no_fewer_cycles(compiler):
  whole, parts = (
      compiler.estimate(
          _program(256, 128, sequences=64, gradient_accumulation_steps=number),
          Topology.parse('v3:2x2'))
      for number in (1, 8))
  assert whole.error is parts.error is None
  assert parts.memory_bytes < whole.memory_bytes / 2
  assert parts.product_flops == whole.product_flops
  assert (whole.flops > whole.product_flops) and parts.flops is None
  # The loop's body would be an eighth.
  assert parts.cycles['FFN'] > 0.7 * whole.cycles['FFN']
  assert parts.cycles['attention'] > 0.7 * whole.cycles['attention']
  assert parts.cycles['optimizer'] < 2 * whole.cycles['optimizer']


def test_a_step_is_traced_once_for_all_kinds_of_chips(tmp_path):
  said = []
  try:
    compiler = TpuCompiler(EstimateCache(tmp_path), say=said.append)
  except MissingCompilerError as error:
    pytest.skip(str(error))
  program = _program(sequences=2)
  steps = [compiler.estimate(program, Topology.parse(name))
           for name in ('v3:2x2', 'v5e:2x2')]
  assert said == [
      'tracing a step of 1 layers', 'compiling a step of 1 layers for TPU v3:2x2',
      'compiling a step of 1 layers for TPU v5e:2x2']
  # The same program, for chips that differ.
  assert steps[0].product_flops == steps[1].product_flops > 0
  assert steps[0].cycles != steps[1].cycles
  assert [compiler.estimate(program, Topology.parse(name))
          for name in ('v3:2x2', 'v5e:2x2')] == steps
  assert len(said) == 3
