"""The programs of a plan, written down and executed by JAX's CPU client."""

import json
import pathlib
import subprocess
import sys

import pytest

from official_ext import configuration
from official_ext.analysis import cost_plan
from official_ext.analysis.preflight import execute
from official_ext.analysis.preflight import execution
from official_ext.analysis.preflight import stablehlo_folder

_NUM_STEPS = 3


@pytest.fixture(name='config', scope='module')
def _config():
  # Without dropout, whose masks other kernels may draw otherwise.
  config, _ = configuration.load_config(
      ['experiments/scratch_tiny.gin'],
      ['model.num_layers = 1', 'train.output_dropout = 0.0',
       'train.attention_dropout = 0.0'], require_directories=False)
  return config


@pytest.fixture(name='folder', scope='module')
def _folder(config, tmp_path_factory):
  folder = tmp_path_factory.mktemp('programs')
  plan = cost_plan.make_plan(config, num_cores=2)
  stablehlo_folder.write_programs(folder, {
      'plan': (config, plan),
      'baseline': (config, cost_plan.full_model_plan(plan))})
  return folder


@pytest.fixture(name='executed', scope='module')
def _executed(folder):
  """What the script says, run by its path, as where nothing else is."""
  program = (
      'import runpy, sys\n'
      'sys.argv = sys.argv[1:]\n'
      'try:\n'
      "  runpy.run_path(sys.argv[0], run_name='__main__')\n"
      'finally:\n'
      "  assert not {'tensorflow', 'official_ext'} & set(sys.modules)\n")
  done = subprocess.run(
      [sys.executable, '-P', '-c', program, execute.__file__, str(folder),
       '--platform=cpu', '--warmup_steps=1', f'--timed_steps={_NUM_STEPS - 1}',
       '--json'], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


def test_jax_computes_what_tensorflows_own_step_does(config, folder, executed):
  import tf_keras
  from official_ext import modeling
  from official_ext.training.stage_optimizer import StageOptimizer

  (step,) = json.loads((folder / execute.MANIFEST_FILE).read_text())['steps'].values()
  values = {argument['name']: execute.make_value(argument, position)
            for position, argument in enumerate(step['arguments'])}
  tf_keras.backend.reset_uids()
  model = modeling.build_pretrainer(
      config.architecture, output_dropout=0., attention_dropout=0.,
      gradient_clip_norm=1.)
  # The program's constants.
  model.compile(optimizer=StageOptimizer(
      num_steps=1000, weight_decay_rate=config.weight_decay_rate)())
  drawn = 0
  for variable in model.trainable_variables:
    variable.assign(values[variable.name])
    drawn += variable.shape.num_elements()
  assert drawn > 50_000
  features = {argument['name']: values[argument['name']]
              for argument in step['arguments'] if ':' not in argument['name']}

  (results,) = executed['results'].values()
  assert set(results) == {metric.name for metric in model.metrics}
  assert {'loss', 'masked_lm_accuracy'} <= set(results)
  for index in range(_NUM_STEPS):
    # Kernels of TensorFlow, one operation at a time: no compiler.
    model.train_part(features, None, None)
    for metric in model.metrics:
      assert results[metric.name][index] == pytest.approx(
          float(metric.result()), rel=1e-5), (metric.name, index)
  # Every step went on with the weights of the last one.
  assert results['loss'][2] < results['loss'][1] < results['loss'][0]


def test_times_are_told_for_each_stage_and_in_total(executed):
  assert executed['platform'] == 'cpu' and executed['sequences'] == 4
  (stage,), (baseline,) = executed['runs']['plan'], executed['runs']['baseline']
  assert stage['num_steps'] == 40
  # One program is both.
  assert stage['median_seconds'] == baseline['median_seconds']
  assert 0 < stage['median_seconds'] <= stage['p90_seconds']
  assert executed['total_seconds']['plan'] == pytest.approx(
      40 * stage['median_seconds'])
  text = execute.render(executed)
  assert text.startswith('Executed on one cpu (cpu) by JAX')
  assert text.endswith('on this device: +0.0 %')


def test_a_directory_with_something_in_it_is_left_alone(config, folder):
  before = sorted(folder.iterdir())
  plan = cost_plan.make_plan(config, num_cores=2)
  with pytest.raises(ValueError, match='is not empty; give a new or an empty'):
    stablehlo_folder.write_programs(folder, {'plan': (config, plan)})
  assert sorted(folder.iterdir()) == before


def test_without_an_accelerator_a_line_says_so():
  said = []
  # No machine has one.
  assert execution.find_device(said.append, 'neuron') is None
  assert said == ['not executed: JAX finds no neuron here']
  assert execution.find_device(said.append, 'cpu') == 'cpu'
  with pytest.raises(execution.ExecutionError, match='JAX finds no neuron here'):
    execution.execute_folder(pathlib.Path('nowhere'), 'neuron')
