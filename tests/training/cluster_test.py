"""Reading TF_CONFIG, and what is said when it is wrong."""

import json

import pytest

from official_ext.training.cluster import Cluster
from official_ext.training.cluster import read_cluster


def read(cluster, task=None):
  config = {'cluster': cluster} | ({} if task is None else {'task': task})
  return read_cluster({'TF_CONFIG': json.dumps(config)})


@pytest.mark.parametrize('environment', [
    {}, {'TF_CONFIG': ''}, {'TF_CONFIG': '{}'},
    # As Vertex AI sets it for a job of one machine.
    {'TF_CONFIG': '{"cluster": {"chief": ["host:2222"]}, '
                  '"task": {"type": "chief", "index": 0}}'}])
def test_a_process_may_be_alone(environment):
  assert read_cluster(environment) is None


def test_workers_are_counted_in_order():
  cluster = read({'worker': ['a:1', 'b:2', '[::1]:3']},
                 {'type': 'worker', 'index': 2})
  assert cluster == Cluster(('a:1', 'b:2', '[::1]:3'), 2)
  assert cluster.name(1) == 'worker 1 (b:2)'


def test_the_chief_comes_before_the_workers():
  jobs = {'worker': ['b:2', 'c:3'], 'chief': ['a:1']}
  assert read(jobs, {'type': 'chief', 'index': '0'}) == Cluster(
      ('a:1', 'b:2', 'c:3'), 0)
  assert read(jobs, {'type': 'worker', 'index': 1}).index == 2


@pytest.mark.parametrize(('cluster', 'task', 'message'), [
    ({'worker': ['a:1', 'b:2'], 'ps': ['c:3']}, {'type': 'ps', 'index': 0},
     "TF_CONFIG has the job 'ps'; all processes train alike here: give 'worker'"),
    ({'worker': ['a:1', 'b']}, {'type': 'worker', 'index': 0},
     "worker is \\['a:1', 'b'\\]; give a list of addresses such as 'host0:2222'"),
    ({'worker': 'a:1'}, {'type': 'worker', 'index': 0}, "worker is 'a:1'; give a"),
    ({'worker': ['a:1', 'a:1']}, {'type': 'worker', 'index': 0},
     'a:1 is there twice; each worker needs an address of its own'),
    ({'chief': ['a:1', 'b:1']}, {'type': 'chief', 'index': 0},
     '2 chiefs; give one'),
    ({'worker': ['a:1', 'b:2']}, None, 'TF_CONFIG has no task, so which worker'),
    ({'worker': ['a:1', 'b:2']}, {'type': 'chief', 'index': 0},
     "task.type is 'chief'; give one of 'worker'"),
    ({'worker': ['a:1', 'b:2']}, {'type': 'worker', 'index': 2},
     "task.index is 2, but there are 2 of 'worker'; give a whole number from 0 "
     'to 1'),
    ({'worker': ['a:1', 'b:2']}, {'type': 'worker'}, 'task.index is None'),
    ([], None, 'it looks like {"cluster"'),
])
def test_mistakes_name_the_mend(cluster, task, message):
  with pytest.raises(ValueError, match=message):
    read(cluster, task)


def test_all_mistakes_come_at_once():
  with pytest.raises(ValueError, match='2 mistakes') as caught:
    read({'worker': ['a'], 'evaluator': ['b:1']})
  assert len(caught.value.mistakes) == 2


def test_what_is_not_json_is_refused():
  with pytest.raises(ValueError, match='TF_CONFIG is not JSON .*it looks like'):
    read_cluster({'TF_CONFIG': "{'cluster': 1}"})
