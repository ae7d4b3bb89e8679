"""What a plan says, against the papers' figures and sums by hand."""

import json

import numpy as np
import pytest

from official_ext import configuration
from official_ext.analysis import cost_plan
from official_ext.analysis import cost_table
from official_ext.analysis import flops
from official_ext.analysis.accelerators import CHIPS
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.memory import estimate_memory
from official_ext.growth import Architecture
from official_ext.schedules import ResolvedStage


def plan_of(experiment, *params, **options):
  config, _ = configuration.load_config(
      [f'experiments/{experiment}.gin'], params, require_directories=False)
  return cost_plan.make_plan(config, **options)


def _compound_grow_by_hand(size, sharing, rows, keys):
  """Speed-up in forward FLOPs of CompoundGrow with 512 tokens, 76 masked.

  Args:
    size: 'base' or 'large'.
    sharing: feed-forward units of the target for each stored one.
    rows: tokens of a pooled sequence behind layer 0.
    keys: keys of layer 0.
  """
  width, num_layers = {'base': (768, 12), 'large': (1024, 24)}[size]

  def layer(queries, keys, inner):
    return (2 * width ** 2 * (2 * queries + 2 * keys)
            + 4 * queries * keys * width + 4 * queries * width * inner)

  head = 2 * 76 * (width ** 2 + width * 30522) + 4 * width ** 2
  inner = 4 * width // sharing
  pooling = 2 * (rows - 77) * 512 * width

  def treated(depth):
    return (pooling + layer(rows, keys, inner)
            + (depth - 1) * layer(rows, rows, inner) + head)

  full = num_layers * layer(512, 512, 4 * width) + head
  spent = (0.2 * treated(num_layers // 4) + 0.2 * treated(num_layers // 2)
           + 0.3 * treated(num_layers) + 0.3 * full)
  return full / spent - 1


@pytest.mark.parametrize('size, published', [('base', 1.071), ('large', 1.114)])
def test_sharing_four_is_the_papers_in_the_layout_of_its_code(size, published):
  """CompoundGrow, Table 2; what the plan has on top is its shorter layout."""
  assert _compound_grow_by_hand(size, 4, 333, 588) == pytest.approx(
      published, abs=0.06)
  assert _compound_grow_by_hand(size, 2, 333, 588) < published - 0.13
  plan = plan_of(f'compound_grow_{size}')
  saved = cost_plan.savings(plan, cost_plan.full_model_plan(plan))
  assert saved.forward_flops == pytest.approx(
      _compound_grow_by_hand(size, 4, 296, 512), abs=0.002)


# Table 2 again, as published, and as planned with the default sharing of 4.
@pytest.mark.parametrize('experiment, expected', [
    ('stack_base', 0.687), ('stack_large', 0.707),
    ('compound_grow_base', 1.179), ('compound_grow_large', 1.259)])
def test_speedups_are_the_papers_or_the_shorter_layouts(experiment, expected):
  plan = plan_of(experiment)
  saved = cost_plan.savings(plan, cost_plan.full_model_plan(plan))
  assert saved.forward_flops == pytest.approx(expected, abs=0.02)
  # Training steps end short: their FLOPs are no figure of the paper.
  steps = [stage.stage.end_step - stage.stage.start_step
           for stage in plan.stages]
  costs = [flops.train_flops(stage.stage.architecture, 76)
           for stage in plan.stages]
  assert saved.train_flops == pytest.approx(
      sum(steps) * costs[-1] / np.dot(steps, costs) - 1)
  assert saved.walltime is None
  # The same against the experiment from scratch.
  scratch = plan_of('scratch_' + experiment.rsplit('_')[-1])
  assert cost_plan.savings(plan, scratch) == saved


def test_times_are_flops_over_the_assumed_speed():
  plan = plan_of('stack_base', topology=Topology.parse('v3:8x8'))
  assert (plan.num_cores, plan.sequences_per_core) == (128, 2)
  first = plan.stages[0]
  # 123 TFLOPs a chip of two cores, 40 % of it.
  assert first.step_seconds == pytest.approx(
      first.train_flops / (64 * 123e12 * 0.4))
  assert plan.hours == pytest.approx(sum(
      stage.num_steps * stage.step_seconds for stage in plan.stages) / 3600)
  saved = cost_plan.savings(plan, cost_plan.full_model_plan(plan))
  assert saved.walltime == pytest.approx(saved.train_flops)


def test_partly_trained_stages_cost_less_backward_than_forward():
  plan = plan_of('mslt_base')
  quarter, half = plan.stages[:2]
  assert quarter.train_flops == 3 * flops.forward_breakdown(
      quarter.stage.architecture, 76, 256, predictions_only=True).total
  assert half.train_flops < 2.1 * half.forward_flops
  # Frozen blocks keep no activations.
  assert half.memory.activations == pytest.approx(
      quarter.memory.activations, rel=0.02)
  assert half.memory.weights > quarter.memory.weights


def test_predictions_shrink_with_the_sequence():
  plan = plan_of('data_truncation_base', "SHORT_DATA_DIR = 'later'")
  short, full = plan.stages
  architecture = short.stage.architecture
  assert architecture.sequence_length == 128
  assert short.train_flops == flops.train_flops(architecture, 20, 256)
  assert full.train_flops == flops.train_flops(full.stage.architecture, 76, 256)


def test_memory_of_a_block_by_hand():
  model = Architecture(
      num_layers=1, hidden_size=8, num_heads=2, inner_size=32, vocab_size=10,
      max_positions=16)
  memory = estimate_memory(
      ResolvedStage(0, 'full', 0, 1, model), 2, 3, value_bytes=2)
  # sbh (34 + 5 as / h): Korthikanti et al., 2022, equation 1.
  assert memory.activations == 16 * 3 * 8 * (34 + 5 * 2 * 16 / 8)
  parameters = flops.parameter_count(model)
  assert (memory.weights, memory.moments, memory.gradients) == (
      4 * parameters, 8 * parameters, 4 * parameters)
  assert memory.logits == 2 * 4 * 3 * 2 * 10
  assert memory.total == 16 * parameters + memory.activations + memory.logits


def test_micro_batches_take_memory_from_activations_only():
  whole, parts = (plan_of(
      'mslt_base', f'GRADIENT_ACCUMULATION_STEPS = {number}',
      topology=Topology.parse('v3:2x2')) for number in (1, 4))
  for one, other in zip(whole.stages, parts.stages):
    assert other.train_flops == one.train_flops
    assert other.forward_flops == one.forward_flops
    assert other.memory.activations == one.memory.activations / 4
    assert other.memory.logits == one.memory.logits / 4
    assert one.memory.accumulated_gradients == 0
    assert other.memory.accumulated_gradients == other.memory.gradients
    assert other.memory.total == one.memory.total + other.memory.gradients - 3 * (
        other.memory.activations + other.memory.logits)
  texts = [cost_table.render(plan, cost_plan.full_model_plan(plan))
           for plan in (whole, parts)]
  assert '32 sequences on each of 8 cores, in 4 micro-batches of 8.' in texts[1]
  assert 'micro-batches of' not in texts[0]
  # Whole batches do not fit, micro-batches do.
  assert ['raise GRADIENT_ACCUMULATION_STEPS: the same' in ' '.join(text.split())
          for text in texts] == [True, False]
  assert [' !' in text for text in texts] == [True, False]
  values = cost_plan.to_json(parts, whole)
  assert values['gradient_accumulation_steps'] == 4
  assert values['stages'][0]['memory_bytes']['accumulated_gradients'] > 0
  with pytest.raises(ValueError, match=(
      r'batch_size 256 is not divisible by 8 x 64 \(cores x '
      r'gradient_accumulation_steps\); the nearest that is: 512\.')):
    plan_of('mslt_base', 'GRADIENT_ACCUMULATION_STEPS = 64',
            topology=Topology.parse('v3:2x2'))


def test_chips_and_topologies():
  assert Topology.parse('v4:2x2x1').num_cores == 4
  assert Topology.parse('v3:2x2').num_cores == 8
  assert CHIPS['v3'].core_memory_bytes == 16 << 30
  for text in ('v3', 'v9:2x2', 'v3:2x', '8x8'):
    with pytest.raises(ValueError, match='give a chip and its shape, such as'):
      Topology.parse(text)
  with pytest.raises(ValueError, match='a shape without chips'):
    Topology.parse('v3:0x2')
  with pytest.raises(ValueError, match='a shape of v4 has 3 sides, such as v4:2x2x1'):
    Topology.parse('v4:2x2')


def test_impossible_plans_are_refused():
  with pytest.raises(ValueError, match='batch_size 256 is not divisible by 96 '
                     'cores; the nearest that is: 288'):
    plan_of('scratch_base', num_cores=96)
  with pytest.raises(ValueError, match='utilization is 1.5; give a number'):
    plan_of('scratch_base', utilization=1.5)


def test_the_table_holds_every_stage_and_marks_what_does_not_fit():
  plan = plan_of('mslt_base', topology=Topology.parse('v3:2x2'))
  text = cost_table.render(plan, cost_plan.full_model_plan(plan))
  assert max(map(len, text.splitlines())) <= 120
  rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
  assert rows['quarter'].split()[1:4] == ['200,000', '3', '768']
  assert 'top 3 layers' in text
  # 32 sequences a core.
  assert '!' in rows['joint'] and '!' not in rows['quarter']
  assert '! marks what does not fit' in text
  assert '40% of the peak of TPU v3' in text


def test_json_can_be_read_back():
  plan = plan_of('compound_grow_base', num_cores=128)
  values = json.loads(json.dumps(
      cost_plan.to_json(plan, cost_plan.full_model_plan(plan))))
  assert [stage['name'] for stage in values['stages']] == [
      'quarter', 'half', 'deep', 'full']
  assert values['stages'][0]['query_length'] == 296
  assert values['totals']['steps'] == 1_000_000
  assert values['speedup']['walltime'] is None
  assert values['sequences_per_core'] == 2
