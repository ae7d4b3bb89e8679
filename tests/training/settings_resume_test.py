"""Settings of a run hold through two growths, with a kill and a resume between.

Every value of a setting is in one of these runs. A killed run has to end with
the same bits as an undisturbed one, and the settings have to change what is
learnt, or they were not in force.
"""

import functools
import json
import signal

import pytest

from official_ext.schedules import GrowthSchedule
from official_ext.schedules import Stage
from tests.training import killed_run
from tests.training import run_comparison
from tests.training import tiny_run
from tests.training.forked_process import ForkedProcesses

# Growths at steps 3 and 6.
SCHEDULE = GrowthSchedule((
    Stage('shared', steps=3, depth=0.5, ffn_sharing=2),
    Stage('deep', steps=3, ffn_sharing=2),
    Stage('full', steps=3)))
NUM_STEPS = 9

SETTINGS = {
    'cosine, continuous': dict(
        learning_rate_schedule='cosine', learning_rate_restart='continuous',
        warmup_steps=2, growth_warmup_steps=1, beta_1=0.8, beta_2=0.98,
        epsilon=1e-5, position_initializer='sinusoidal'),
    'wsd, restarted': dict(
        learning_rate_schedule='wsd', decay_fraction=0.3, optimizer='lamb',
        optimizer_growth='reset', beta_2=0.98),
    'masks drawn anew, more and more of them': dict(
        masking='dynamic', masked_share=0.1, final_masked_share=0.2),
    'constant, counted within the stage': pytest.param(
        dict(learning_rate_schedule='constant', learning_rate_restart='stage',
             warmup_steps=2), marks=pytest.mark.slow),
}


@pytest.fixture(scope='module')
def processes():
  return ForkedProcesses()


@pytest.mark.parametrize('settings', SETTINGS.values(), ids=SETTINGS)
def test_killed_run_ends_bit_identical(tmp_path, processes, settings):
  tiny_run.config(tmp_path)  # Writes the data once.

  def run(name, moment, step=0):
    process = processes.start(
        tmp_path / 'log', functools.partial(
            killed_run.run, **settings, schedule=SCHEDULE, num_steps=NUM_STEPS),
        str(tmp_path), name, moment, step)
    process.join()
    return process.exitcode, (tmp_path / 'log').read_text()

  code, said = run('undisturbed', 'never')
  assert code == 0, said
  code, said = run('disturbed', 'step', 5)
  assert code == -signal.SIGKILL, said
  code, said = run('disturbed', 'never')
  assert code == 0, said
  assert 'resuming at step 4' in said
  assert run_comparison.assert_same(
      tmp_path / 'disturbed', tmp_path / 'undisturbed') > 100
  recorded = json.loads((tmp_path / 'disturbed/schedule.json').read_text())
  known = recorded['optimizer'] | recorded['model'] | {
      'optimizer': recorded['optimizer']['name'],
      'optimizer_growth': recorded['optimizer']['growth']}
  for name, value in settings.items():
    # Warm-ups may change on resume, and are not checked.
    assert name.endswith('warmup_steps') or known[name] == value
