"""Any fields of a run or a manifest give a list of mistakes, and no crash."""

import dataclasses
import json

import hypothesis
from hypothesis import strategies as st

from official_ext.data.manifest import Manifest
from official_ext.data.settings import PrepareSettings
from official_ext.growth import Architecture
from official_ext.schedules import compound_grow
from official_ext.training.run_config import PretrainConfig
from tests.fuzz.cases import check_refusal
from tests.fuzz.cases import counted
from tests.fuzz.cases import JUNK

_CONFIG_FIELDS = [field.name for field in dataclasses.fields(PretrainConfig)]
_SETTINGS_FIELDS = [field.name for field in dataclasses.fields(PrepareSettings)]
_SOUND = PretrainConfig(
    architecture=Architecture(
        num_layers=4, hidden_size=8, num_heads=2, inner_size=16, vocab_size=40,
        max_positions=24),
    schedule=compound_grow(), num_steps=100, batch_size=4, num_predictions=3)
_MANIFEST = json.loads(Manifest(
    seq_length=24, max_predictions_per_seq=3, vocab_size=40,
    vocab_sha256='a' * 64, tokenizer={'type': 'x'}, seed=0, settings={},
    corpus={}, splits={}, versions={}).to_json()) | {'splits': {
        'train': {'examples': 64, 'documents': 9, 'tokens': 99, 'shards': [
            {'file': 'train-0', 'examples': 64, 'bytes': 5, 'sha256': 'b'}]},
        'eval': {'examples': 8, 'documents': 1, 'tokens': 9, 'shards': []}}}


@hypothesis.given(
    st.dictionaries(
        # A path that is one is looked at.
        st.sampled_from([name for name in _CONFIG_FIELDS
                         if name != 'init_checkpoint']), JUNK, max_size=3),
    st.booleans())
@hypothesis.example({'num_replicas': 1j}, False)
@hypothesis.example({'data_dir': 1}, False)
@hypothesis.example({'data_dir': '\n'}, False)
@counted
def test_run_configurations(changes, require_directories):
  config = dataclasses.replace(_SOUND, **changes)
  lines = config.mistakes(
      Manifest.from_json(json.dumps(_MANIFEST)),
      require_directories=require_directories)
  known = {*_CONFIG_FIELDS, 'data', 'schedule'}
  for line in lines:
    assert line.strip() and '\n' not in line
    assert any(name in line for name in known), line
  for name in ('num_steps', 'batch_size'):
    if changes.get(name, 1) in (0, -1) and not isinstance(
        changes.get(name), bool):
      assert any(line.startswith(f'{name} is ') for line in lines)


def _paths(content, path=()):
  yield path
  if isinstance(content, dict):
    for key, value in content.items():
      yield from _paths(value, (*path, key))
  elif isinstance(content, list):
    for index, value in enumerate(content):
      yield from _paths(value, (*path, index))


def _changed(content, path, value):
  if not path:
    return value
  key, *rest = path
  copy = dict(content) if isinstance(content, dict) else list(content)
  if not rest and value is ...:
    del copy[key]
  else:
    copy[key] = _changed(copy[key], rest, value)
  return copy


@hypothesis.given(
    st.sampled_from([path for path in _paths(_MANIFEST) if path]),
    st.one_of(st.just(...), JUNK.filter(
        lambda value: not isinstance(value, (bytes, complex)))))
@hypothesis.example(('splits', 'train', 'shards', 0, 'file'), None)
@hypothesis.example(('splits', 'train', 'examples'), None)
@counted
def test_manifests_with_another_value(path, value):
  try:
    manifest = Manifest.from_json(json.dumps(_changed(_MANIFEST, path, value)))
  except ValueError as error:
    check_refusal(error, {'manifest', 'format', 'objective'})
    return
  lines = _SOUND.mistakes(manifest, require_directories=False)
  assert all(line.strip() and '\n' not in line for line in lines)


@hypothesis.given(st.one_of(
    st.text(max_size=30),
    st.integers(0, len(json.dumps(_MANIFEST))).map(
        lambda end: json.dumps(_MANIFEST)[:end]),
    st.sampled_from(['[' * 10_000, '1' * 5000, '{"format": 1}', 'NaN'])))
@counted
def test_manifests_that_are_none(text):
  try:
    Manifest.from_json(text)
  except ValueError as error:
    check_refusal(error, {'manifest', 'format'})
  else:
    assert json.loads(text) == _MANIFEST


@hypothesis.given(
    st.dictionaries(st.sampled_from(_SETTINGS_FIELDS), JUNK, max_size=3))
@counted
def test_settings_of_prepare(changes):
  try:
    settings = PrepareSettings(**changes)
  except ValueError as error:
    check_refusal(error, changes)
    return
  assert settings.max_tokens >= 5
  json.dumps(settings.manifest_settings())
