"""What surrounds the TPU compiler: texts, groups, cache, estimates, errors."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from official_ext import configuration
from official_ext.analysis import cost_plan
from official_ext.analysis import cost_table
from official_ext.analysis import flops
from official_ext.analysis.accelerators import CHIPS
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight import compiled_step
from official_ext.analysis.preflight import lowering
from official_ext.analysis.preflight import operation_groups
from official_ext.analysis.preflight import optimized_hlo
from official_ext.analysis.preflight import stablehlo_text
from official_ext.analysis.preflight import step_program
from official_ext.analysis.preflight import tpu_compiler
from official_ext.analysis.preflight.all_reduce import all_reduce_seconds
from official_ext.analysis.preflight.compiled_step import CompiledStep
from official_ext.analysis.preflight.estimate_cache import EstimateCache
from official_ext.analysis.preflight.stage_estimate import ALL_REDUCE
from official_ext.analysis.preflight.stage_estimate import StageEstimate
from official_ext.modeling import gradient_accumulation

# The shape of what libtpu writes, shortened.
_HLO = '''HloModule step, is_scheduled=true

%fused_product (p.1: f32[8,8]) -> f32[8,8] {
  %p.1 = f32[8,8]{1,0} parameter(0)
  %conv.1 = f32[8,8]{1,0} convolution(%p.1, %p.1), dim_labels=bf_io->bf, metadata={op_name="bert/transformer/layer_0/intermediate/einsum/Einsum"}
  ROOT %add.1 = f32[8,8]{1,0} add(%conv.1, %p.1), metadata={op_name="bert/transformer/layer_0/add"}
}

%body (p.2: f32[8]) -> f32[8] {
  %p.2 = f32[8]{0} parameter(0)
  ROOT %neg.1 = f32[8]{0} negate(%p.2), metadata={op_name="XLA_Args"}, backend_config={"window_config":{"estimated_cycles":"10"}}
}

%small (p.3: f32[8]) -> f32[8] {
  ROOT %neg.2 = f32[8]{0} negate(%p.3), backend_config={"window_config":{"estimated_cycles":"1"}}
}

ENTRY %main (p.0: f32[8,8]) -> (f32[8,8], f32[8]) {
  %p.0 = f32[8,8]{1,0:T(8,128)} parameter(0)
  %fusion.1 = f32[8,8]{1,0} fusion(%p.0), kind=kOutput, calls=%fused_product, metadata={op_name="bert/transformer/layer_0/add"}, backend_config={"window_config":{"estimated_cycles":"500"}}
  %copy.1 = f32[8,8]{0,1} copy(%fusion.1)
  %loop.1 = (s32[], f32[8]) while(%copy.1), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %branch.1 = f32[8]{0} conditional(%loop.1), branch_computations={%small, %body}
  ROOT %tuple.1 = (f32[8,8], f32[8]) tuple(%fusion.1, %branch.1)
}
'''


def test_cycles_are_counted_by_trips_and_named_by_products():
  costs = optimized_hlo.operation_cycles(_HLO)
  assert [(cost.operation, cost.cycles) for cost in costs] == [
      ('bert/transformer/layer_0/intermediate/einsum/Einsum', 500),
      ('XLA_Args', 30),
      # The dearer branch.
      ('XLA_Args', 10)]
  groups = operation_groups.group_cycles(costs)
  assert groups == dict.fromkeys(operation_groups.GROUPS, 0) | {
      'FFN': 500, 'other': 40}


def test_the_loop_over_micro_batches_counts_as_often_as_it_runs():
  # As libtpu writes it: named by TensorFlow, without a trip count.
  text = _HLO.replace(
      'backend_config={"known_trip_count":{"n":"3"}}',
      f'metadata={{op_name="{gradient_accumulation.LOOP_NAME}" source_line=1}}')
  costs = optimized_hlo.operation_cycles(text, 8)
  assert [cost.cycles for cost in costs] == [500, 80, 10]
  with pytest.raises(ValueError, match=(
      "optimised HLO has 0 loops named 'micro_batches', not one over 8 micro-")):
    optimized_hlo.operation_cycles(_HLO, 8)


@pytest.mark.parametrize('text, said', [
    ('HloModule step', 'no ENTRY'),
    (_HLO.replace('estimated_cycles', 'cycles'), 'no estimated_cycles')])
def test_hlo_without_cycles_is_refused(text, said):
  with pytest.raises(ValueError, match=said):
    optimized_hlo.operation_cycles(text)


# Names as they occurred in compiled steps.
@pytest.mark.parametrize('operation, group', [
    ('bert/growing_bert_encoder/transformer/layer_3/self_attention/einsum_1/Einsum',
     'attention'),
    ('gradient_tape/bert/growing_bert_encoder/transformer/layer_0/output/einsum/'
     'Einsum_1', 'FFN'),
    ('bert/growing_bert_encoder/transformer/layer_0/self_attention_layer_norm/'
     'moments/variance', 'LayerNorm, elementwise'),
    ('bert/growing_bert_encoder/transformer/layer_5/self_attention/'
     'XlaRngBitGenerator', 'random numbers'),
    ('bert/growing_bert_encoder/transformer/layer_5/self_attention/'
     'GreaterEqual', 'random numbers'),
    ('bert/growing_bert_encoder/embedding_dropout/strided_slice',
     'random numbers'),
    ('bert/bert_encoder_v2/transformer/layer_0/self_attention/dropout_3/'
     'dropout/GreaterEqual', 'random numbers'),
    ('gradient_tape/bert/cls/predictions/MatMul/MatMul_1', 'head'),
    ('bert/cls/predictions/transform/LayerNorm/moments/mean',
     'LayerNorm, elementwise'),
    ('SparseSoftmaxCrossEntropyWithLogits/SparseSoftmaxCrossEntropyWithLogits',
     'head'),
    ('gradient_tape/bert/growing_bert_encoder/position_embedding/Sum',
     'embedding'),
    ('AdamWeightDecay/AdamWeightDecay/update_7/ResourceApplyAdam', 'optimizer'),
    ('global_norm/L2Loss_3', 'optimizer'), ('XLA_Args', 'other'), ('', 'other')])
def test_operations_are_grouped_by_name(operation, group):
  assert operation_groups.group_of(operation) == group


def test_text_is_made_readable_for_newer_parsers():
  text = stablehlo_text.for_newer_parsers(
      'module @a_step_3194__.3797 attributes {} {\n'
      '%2 = mhlo.copy %1 : tensor<4x8xf32> loc(#loc1)\n'
      # 0x05, 0x02: bits 0, 2 and 9, lowest first.
      '%3 = stablehlo.constant dense<"0x0502"> : tensor<2x5xi1>\n')
  assert text == (
      'module @step attributes {} {\n'
      '%2 = stablehlo.reshape %1 : (tensor<4x8xf32>) -> tensor<4x8xf32> '
      'loc(#loc1)\n'
      '%3 = stablehlo.constant dense<[[true, false, true, false, false], '
      '[false, false, false, false, true]]> : tensor<2x5xi1>\n')
  assert stablehlo_text.for_newer_parsers(text) == text


def test_products_are_counted_by_what_they_contract():
  dot = ('%2 = stablehlo.dot_general %0, %1, contracting_dims = [{0}] x [{0}] : '
         '(tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<{1}xf32>\nreturn %2')
  assert stablehlo_text.product_flops(dot.format('1', '4x4')) == 2 * 4 * 4 * 8
  assert stablehlo_text.product_flops(dot.format('0, 1', '1')) == 2 * 4 * 8
  # An addition later on goes with each multiplication.
  assert stablehlo_text.product_flops(dot.format('', '4x8x4x8')) == 2 * (4 * 8)**2


def config_of(experiment, *params):
  config, _ = configuration.load_config(
      [f'experiments/{experiment}.gin'], params, require_directories=False)
  return config


@pytest.mark.parametrize('stage_index', [0, 3])
def test_products_of_the_traced_step_are_those_of_the_formula(stage_index):
  config = config_of('compound_grow_tiny', "PRECISION = 'mixed_bfloat16'")
  stage = config.resolve()[stage_index]
  (program,) = step_program.step_programs(
      config, stage, sequences=2, num_predictions=5)
  text = stablehlo_text.for_newer_parsers(lowering.lower(program).text)
  # Segment embedding and pooling pass no gradient on to what they are made of,
  # and pre-training does not read the encoder's own pooler.
  sequences, hidden_size = 2, stage.architecture.hidden_size
  counted = flops.train_breakdown(stage.architecture, 5, sequences)
  pooler = 3 * 2 * sequences * hidden_size ** 2
  assert stablehlo_text.product_flops(text) == (
      counted.total - counted.embedding // 3 - pooler)
  # The forward and backward pass are in bfloat16, and all is one static program.
  assert 'xbf16>' in text and '?x' not in text
  # Nothing in the text depends on what the process did before.
  assert stablehlo_text.for_newer_parsers(lowering.lower(program).text) == text


def test_products_of_micro_batches_are_those_of_the_whole_batch():
  config = config_of('compound_grow_tiny')
  program = step_program.step_programs(
      config, config.resolve()[3], sequences=8, num_predictions=5)[0]
  whole, parts = (
      stablehlo_text.for_newer_parsers(lowering.lower(dataclasses.replace(
          program, gradient_accumulation_steps=number)).text)
      for number in (1, 4))
  expected = stablehlo_text.product_flops(whole)
  assert stablehlo_text.product_flops(parts, 4) == expected
  # All of them are in the one loop.
  assert parts.count('stablehlo.while') == 1 and 'stablehlo.while' not in whole
  assert 4 * stablehlo_text.product_flops(parts) == expected
  assert '?x' not in parts


def test_products_of_frozen_parts_are_those_of_the_formula():
  config = config_of('mslt_tiny')
  stage = config.resolve()[1]
  (program,) = step_program.step_programs(
      config, stage, sequences=2, num_predictions=5)
  text = stablehlo_text.for_newer_parsers(lowering.lower(program).text)
  assert stage.trained_layers
  assert stablehlo_text.product_flops(text) == pytest.approx(
      flops.stage_train_flops(stage, 5, 2), rel=0.02)


def test_sub_models_are_a_program_each_and_updates_only_a_part():
  config = config_of('bert2bert_gpt_base', "INIT_CHECKPOINT = ''")
  stage = dataclasses.replace(
      config_of('compound_grow_base').resolve()[3], sub_model_layers=3)
  programs = step_program.step_programs(
      config, stage, sequences=2, num_predictions=0)
  assert [(p.num_layers, p.trained_layers) for p in programs] == [
      (3, 3), (6, 3), (9, 3), (12, 3)]


def test_chips_clocks_explain_their_peaks():
  for chip in CHIPS.values():
    side = 256 if chip.name == 'v6e' else 128
    units = chip.peak_flops / (2 * side**2 * chip.clock_hertz)
    assert units == pytest.approx(round(units), rel=0.02), chip.name
    assert Topology.parse(chip.smallest_topology).chip == chip


def test_all_reduce_by_hand():
  # 64 chips, 100M float32: 2 * 63/64 * 400 MB over 328 GB/s.
  seconds = all_reduce_seconds(100_000_000, Topology.parse('v3:8x8'), 128)
  assert seconds == pytest.approx(2 * 63 / 64 * 4e8 / 328e9)
  assert all_reduce_seconds(100_000_000, Topology.parse('v3:8x8'), 2) == 0


def estimate(*cycles, chip='v3'):
  return StageEstimate(
      tuple(CompiledStep(memory_bytes=7 * each, flops=1.0, product_flops=1,
                         cycles={'attention': each, 'random numbers': each // 10})
            for each in cycles), CHIPS[chip], 0.5)


def test_seconds_are_mean_cycles_at_the_chips_clock():
  stage = estimate(940_000_000, 2 * 940_000_000)
  assert stage.seconds() == pytest.approx(
      {'attention': 1.5, 'random numbers': 0.15, ALL_REDUCE: 0.5})
  assert stage.step_seconds == pytest.approx(2.15)
  assert stage.step_seconds_without(['random numbers', ALL_REDUCE]) == (
      pytest.approx(1.5))
  assert stage.memory_bytes == 14 * 940_000_000


def test_a_program_that_is_too_large_or_refused_is_told_in_a_line():
  step = compiled_step.failed(
      'RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 31.20G '
      'of 15.48G hbm. Exceeded hbm capacity by 15.7G.\n\nTotal hbm usage:\n ...')
  assert step.error == (
      'needs 31.20G of 15.48G of memory; take fewer sequences a core, or raise '
      'gradient_accumulation_steps')
  step = compiled_step.failed(
      'INVALID: no lowering\n for %x = f32[] sort(), '
      'metadata={op_name="bert/cls/Sort"}')
  assert step.operation == 'bert/cls/Sort' and '\n' not in step.error
  assert StageEstimate((step,), CHIPS['v3'], 0.).error.startswith(
      'bert/cls/Sort: INVALID')


def test_the_cache_keeps_values_and_survives_damage(tmp_path):
  cache = EstimateCache(tmp_path / 'new')
  assert cache.read('results', 'a') is None
  cache.write('results', 'a', {'flops': 1.5})
  assert EstimateCache(tmp_path / 'new').read('results', 'a') == {'flops': 1.5}
  cache.path('results', 'a').write_bytes(b'cut')
  assert cache.read('results', 'a') is None
  assert [path.name for path in (tmp_path / 'new' / 'results').iterdir()] == [
      'a.gz']


# An interpreter that has no packages: what `tpu_compile` needs is missing.
@pytest.fixture(name='bare_python')
def _bare_python(tmp_path):
  path = tmp_path / 'python'
  path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
  path.chmod(0o755)
  return str(path)


def test_a_missing_compiler_says_how_to_install_it(bare_python, tmp_path):
  with pytest.raises(tpu_compiler.MissingCompilerError, match=(
      r"jax and jaxlib and libtpu not found beside .*python; install them: pip "
      r"install 'official-ext\[tpu-preflight\]'")):
    tpu_compiler.TpuCompiler(EstimateCache(tmp_path), bare_python)
  with pytest.raises(tpu_compiler.MissingCompilerError, match='cannot be run'):
    tpu_compiler.TpuCompiler(EstimateCache(tmp_path), str(tmp_path / 'none'))


def test_plan_goes_on_without_the_compiler(bare_python):
  plan_on_tpu = [
      sys.executable, '-m', 'official_ext.plan', '--json',
      '--gin_file=experiments/stack_tiny.gin', '--tpu_topology=v3:2x2']
  done = subprocess.run(
      plan_on_tpu, env={**os.environ, 'OFFICIAL_EXT_TPU_PYTHON': bare_python},
      capture_output=True, text=True, check=False)
  # Not without the one that was asked for by name.
  refused = subprocess.run(
      [*plan_on_tpu, f'--tpu_python={bare_python}'],
      capture_output=True, text=True, check=False)
  assert refused.returncode == 2
  assert refused.stderr.startswith('error: --tpu_python: jax and jaxlib and libtpu')
  assert done.returncode == 0, done.stderr
  assert 'warning: no preflight' in done.stderr
  assert len(done.stderr.splitlines()) == 1
  plan = json.loads(done.stdout)
  assert plan['utilization'] == 0.4
  assert all(stage['compiled'] is None and stage['step_seconds']
             for stage in plan['stages'])


def test_the_plan_shows_what_was_compiled_and_what_was_not():
  plan = cost_plan.make_plan(
      config_of('stack_tiny'), topology=Topology.parse('v3:2x2'))
  cycles = dict.fromkeys(operation_groups.GROUPS, 0) | {
      'attention': 940_000, 'random numbers': 94_000}
  step = CompiledStep(memory_bytes=20 << 30, flops=11., product_flops=10,
                      cycles=cycles)

  def with_steps(*steps):
    return dataclasses.replace(plan, stages=tuple(
        dataclasses.replace(
            stage, step_seconds=None, compiled=StageEstimate(
                (each,), CHIPS['v3'], 1e-4))
        for stage, each in zip(plan.stages, steps)))

  compiled = with_steps(step, step, step)
  text = cost_table.render(compiled, cost_plan.full_model_plan(compiled))
  assert '21.5\N{NO-BREAK SPACE}GB !' in text
  assert 'estimates of the compiler for TPU v3 at 940 MHz' in text
  rows = {line[:31].strip(): line.split()[-1] for line in text.splitlines()
          if line.strip()}
  assert rows['attention'] == '1.00' and rows['a step'] == '1.20'
  assert rows['FLOPs as compiled, to products'] == '1.100'

  looped = with_steps(*[dataclasses.replace(step, flops=None)] * 3)
  assert looped.stages[0].compiled.to_json()['flops'] is None
  text = cost_table.render(looped, cost_plan.full_model_plan(looped))
  rows = {line[:31].strip(): line.split()[-1] for line in text.splitlines()
          if line.strip()}
  assert rows['FLOPs as compiled, to products'] == '-'

  broken = with_steps(step, compiled_step.failed('no', 'bert/x'), step)
  text = cost_table.render(broken, cost_plan.full_model_plan(broken))
  assert "Stage 'half' does not compile: bert/x: no" in text
  assert cost_plan.walltime_speedup(
      broken, cost_plan.full_model_plan(broken)) is None
