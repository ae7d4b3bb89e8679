"""Every shipped experiment compiles for three generations of TPU.

The whole matrix, each different step of every experiment for each topology, is
marked slow: BERT large takes minutes a step. What was compiled is found again by
content, in one run of the tests, and in later ones where
$OFFICIAL_EXT_TEST_PREFLIGHT_CACHE names a directory:

  OFFICIAL_EXT_TEST_PREFLIGHT_CACHE=~/preflight \\
    python -m pytest -m slow tests/analysis/preflight_matrix_test.py -k stack_base

The fast part is for continuous integration. Even a tiny step takes about 16
seconds of CPU, so it compiles one step of each small experiment, the one that
most others have, too, for one of the topologies in turn; experiments that share
that step share the compilation. All other steps are in the slow part alone.
"""

import os

import pytest

from official_ext import configuration
from official_ext import gin_source
from official_ext.analysis import cost_plan
from official_ext.analysis.accelerators import Topology
from official_ext.analysis.preflight import step_program
from official_ext.analysis.preflight.estimate_cache import EstimateCache
from official_ext.analysis.preflight.tpu_compiler import MissingCompilerError
from official_ext.analysis.preflight.tpu_compiler import TpuCompiler

_TOPOLOGIES = ('v3:2x2', 'v4:2x2x1', 'v5e:2x2')
_FOLDER, _SUFFIX = 'experiments/', '.gin'
# As in the papers' runs of BERT base and large on 128 cores.
_SEQUENCES_PER_CORE = 2
# What a run of some experiments has to be told; no program depends on it.
_REQUIRED = (
    (), ("INIT_CHECKPOINT = ''",), ("SHORT_DATA_DIR = 'later'",))
_EXPERIMENTS = [
    name.removeprefix(_FOLDER).removesuffix(_SUFFIX)
    for name in gin_source.packaged_files() if name.startswith(_FOLDER)]
_SMALL = [name for name in _EXPERIMENTS
          if name.endswith('_tiny') or name == 'quickstart']


def _config_of(experiment):
  for required in _REQUIRED:
    try:
      return configuration.load_config(
          [f'{_FOLDER}{experiment}{_SUFFIX}'], required,
          require_directories=False)[0]
    except ValueError as error:
      mistake = error
  raise mistake


def _num_cores(config):
  return config.batch_size // _SEQUENCES_PER_CORE


def _programs_of(experiment):
  """The different steps of an experiment."""
  config = _config_of(experiment)
  return tuple(dict.fromkeys(
      program for stage in config.resolve()
      for program in step_program.step_programs(
          config, stage, sequences=_SEQUENCES_PER_CORE,
          num_predictions=cost_plan.stage_predictions(config, stage))))


def _fast_cases():
  """(experiment, step, topology): each small experiment, each topology."""
  programs = {name: _programs_of(name) for name in _SMALL}

  def num_sharing(program):
    return sum(program in steps for steps in programs.values())

  topologies = {}
  for name, steps in programs.items():
    step = max(steps, key=num_sharing)
    topology = topologies.setdefault(
        step, _TOPOLOGIES[len(topologies) % len(_TOPOLOGIES)])
    yield pytest.param(step, topology, id=f'{name}-{topology}')


@pytest.fixture(name='compiler', scope='session')
def _compiler(tmp_path_factory):
  cache = EstimateCache(os.environ.get('OFFICIAL_EXT_TEST_PREFLIGHT_CACHE')
                        or tmp_path_factory.mktemp('preflight'))
  try:
    return TpuCompiler(cache)
  except MissingCompilerError as error:
    pytest.skip(str(error))


@pytest.mark.parametrize('program, topology', _fast_cases())
def test_a_step_of_each_small_experiment_compiles(program, topology, compiler):
  topology = Topology.parse(topology)
  step = compiler.estimate(program, topology)
  assert step.error is None, f'{step.operation}: {step.error}'
  assert 0 < step.memory_bytes < topology.chip.core_memory_bytes
  assert step.flops > step.product_flops > 0
  assert step.cycles['attention'] > 0


@pytest.mark.slow
@pytest.mark.parametrize('topology', _TOPOLOGIES)
@pytest.mark.parametrize('experiment', _EXPERIMENTS)
def test_every_step_of_an_experiment_compiles(experiment, topology, compiler):
  config = _config_of(experiment)
  topology = Topology.parse(topology)
  plan = cost_plan.make_plan(
      config, num_cores=_num_cores(config), topology=topology, compiler=compiler)
  for stage in plan.stages:
    assert stage.compiled.error is None, f'{stage.stage.name}: {stage.compiled.error}'
    assert 0 < stage.memory_bytes < topology.chip.core_memory_bytes
    # Our own formula; the compiler counts what is elementwise, too.
    assert plan.num_cores * stage.compiled.product_flops == pytest.approx(
        stage.train_flops, rel=0.02), stage.stage.name
    assert stage.compiled.flops > stage.compiled.product_flops
    assert stage.compiled.seconds()['attention'] > 0


def test_all_small_experiments_and_all_topologies_are_in_the_fast_part():
  cases = [case.id.split('-') for case in _fast_cases()]
  assert [experiment for experiment, _ in cases] == _SMALL
  assert {topology for _, topology in cases} == set(_TOPOLOGIES)
