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


@pytest.mark.parametrize('file', ['../secret', '/etc/passwd', 'a/b', 'gs://b/c'])
def test_a_shard_outside_of_the_directory(file):
  split = {'examples': 1, 'documents': 1, 'tokens': 1, 'shards': [
      {'file': file, 'examples': 1, 'bytes': 1, 'sha256': 'ab'}]}
  with pytest.raises(ValueError, match=f"shard '{file}' is no plain file name; "
                     'prepare the data again'):
    Manifest.from_json(json.dumps({**FIELDS, 'splits': {'train': split}}))


@pytest.mark.parametrize('path, value', [
    (('seq_length',), '32'), (('seed',), -1), (('vocab_sha256',), None),
    (('corpus',), 3), (('splits', 'train', 'examples'), 1.5),
    (('splits', 'train', 'shards', 0, 'bytes'), True)])
def test_a_value_of_another_kind(path, value):
  fields = json.loads(json.dumps({**FIELDS, 'splits': {'train': {
      'examples': 1, 'documents': 1, 'tokens': 1, 'shards': [
          {'file': 'a', 'examples': 1, 'bytes': 1, 'sha256': 'ab'}]}}}))
  *folders, name = path
  place = fields
  for folder in folders:
    place = place[folder]
  place[name] = value
  with pytest.raises(ValueError) as caught:
    Manifest.from_json(json.dumps(fields))
  dotted = '.'.join(str(part) for part in path if part != 0)
  assert str(caught.value) == (
      f'manifest.{dotted} is {value!r}; prepare the data again, or copy its '
      'manifest again')


@pytest.mark.parametrize('text', ['[' * 20_000, '1' * 5000, '{', 'null', ''])
def test_what_is_no_manifest(text):
  with pytest.raises(ValueError, match='^not a manifest of official_ext.prepare '):
    Manifest.from_json(text)
