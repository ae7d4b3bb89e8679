"""Manifests of before, and of what is not known."""

import json

import pytest

from official_ext.data.manifest import Manifest

FIELDS = {
    'format': 1, 'seq_length': 32, 'max_predictions_per_seq': 5,
    'vocab_size': 60, 'vocab_sha256': 'ab', 'tokenizer': {'lower_case': True},
    'seed': 0, 'settings': {}, 'corpus': {'kind': 'files', 'files': []},
    'splits': {}, 'versions': {}}


def test_a_manifest_without_an_objective_is_of_masked_lm():
  manifest = Manifest.from_json(json.dumps(FIELDS))
  assert manifest.objective == 'masked_lm'
  assert not manifest.is_causal


def test_a_manifest_is_read_as_it_was_written():
  manifest = Manifest.from_json(json.dumps({**FIELDS, 'objective': 'causal_lm'}))
  assert manifest.is_causal
  assert Manifest.from_json(manifest.to_json()) == manifest


def test_an_unknown_objective():
  with pytest.raises(ValueError, match="objective 'prefix_lm', expected one of "
                     'masked_lm, causal_lm; prepare the data again'):
    Manifest.from_json(json.dumps({**FIELDS, 'objective': 'prefix_lm'}))
