"""The encoder that fine-tuning starts from, out of any checkpoint."""

from collections.abc import Callable, Mapping
import functools
import hashlib
import json
import os

from official.nlp.modeling import models
import numpy as np
import tensorflow as tf, tf_keras

from official_ext.downstream import finetuned_model
from official_ext.growth.architecture import Architecture
from official_ext.modeling.checkpoint_source import CheckpointSource
from official_ext.modeling.checkpoint_source import find_checkpoint
from official_ext.modeling.checkpoint_weights import load_model
from official_ext.modeling.checkpoint_weights import read_checkpoint
from official_ext.training.run_directory import SCHEDULE_FILE

# (kernel, bias) of a dense layer.
_Dense = tuple[np.ndarray, np.ndarray]


class Pretrained:
  """An encoder's weights and what they need.

  Reading one starts no device: the model that arranges the weights is built by
  the first `initialize`.

  Args:
    architecture: of the encoder; queries are not pooled.
    load: gives the weights as `GrowingBertEncoder.get_weights` lists them, and
      the dense layer that pre-training trained on [CLS], or None.
    vocabulary_file: its pieces; None if none is beside it.
    lower_case: whether its tokenizer lower-cases.
    sha256: of all weights.
  """

  def __init__(self, architecture: Architecture,
               load: Callable[[], tuple[list[np.ndarray], _Dense | None]], *,
               vocabulary_file: str | None, lower_case: bool, sha256: str):
    self.architecture = architecture
    self.vocabulary_file = vocabulary_file
    self.lower_case = lower_case
    self.sha256 = sha256
    self._load = functools.cache(load)

  def initialize(self, model: tf_keras.Model) -> None:
    """Gives a model of `build_task_model` these weights; its head stays fresh.

    Args:
      model: of the same architecture.
    """
    encoder_weights, pooler = self._load()
    model.checkpoint_items['encoder'].set_weights(encoder_weights)
    if pooler is not None and isinstance(model, models.BertClassifier):
      model.classifier.dense.set_weights(pooler)


def read_pretrained(path: str, *, allow_unfinished: bool = False) -> Pretrained:
  """Reads a checkpoint of ours, of Model Garden's, or of an earlier fine-tuning.

  Args:
    path: as `find_checkpoint` takes, or a directory that `finetune` wrote.
    allow_unfinished: takes a model in the middle of its growth for what it is:
      as deep as it is, with the inner units that are stored, but with its
      queries not pooled.

  Raises:
    ValueError: there is no such checkpoint, it is no BERT's, or it is
      unfinished.
  """
  source = find_checkpoint(path)
  directory = os.path.dirname(source.prefix)
  if tf.io.gfile.exists(os.path.join(directory, finetuned_model.TASK_FILE)):
    return _from_finetuned(source)
  weights, architecture = read_checkpoint(path)
  if architecture.family != 'bert':
    raise ValueError(
        f'{source.prefix} is a {architecture.family.upper()}; only a BERT can '
        'be fine-tuned.')
  reasons = _unfinished(source, architecture)
  if reasons and not allow_unfinished:
    raise ValueError(
        f'{source.prefix} is in the middle of its growth: '
        f'{"; ".join(reasons)}. Let `train` end it, or add --allow_unfinished '
        'to fine-tune the model as it stands.')
  architecture = architecture.replace(query_pool_size=1)

  def load():
    model = load_model(weights, architecture)
    return model.encoder_network.get_weights(), _pooler(weights)

  return Pretrained(
      architecture, load, vocabulary_file=source.vocabulary_file,
      lower_case=source.lower_case, sha256=_digest(weights))


def _from_finetuned(source: CheckpointSource) -> Pretrained:
  """The encoder of a fine-tuned model, as MNLI's is used for other tasks."""

  def load():
    model = finetuned_model.load_finetuned(
        os.path.dirname(source.prefix)).model
    pooler = None
    if isinstance(model, models.BertClassifier):
      pooler = tuple(model.classifier.dense.get_weights())
    return model.checkpoint_items['encoder'].get_weights(), pooler

  reader = tf.train.load_checkpoint(source.prefix)
  return Pretrained(
      source.architecture, load, vocabulary_file=source.vocabulary_file,
      lower_case=source.lower_case, sha256=_digest({
          name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()
          if not name.startswith('_')}))


def _digest(weights: Mapping[str, np.ndarray]) -> str:
  content = hashlib.sha256()
  for name in sorted(weights):
    content.update(name.encode())
    content.update(np.ascontiguousarray(weights[name]).data)
  return content.hexdigest()


def _pooler(weights: Mapping[str, np.ndarray]) -> _Dense | None:
  """The dense layer over [CLS] that pre-training trained, if any.

  That is the next-sentence head's, or in a converted model the pooler.
  """
  for name in ('next_sentence/dense', 'pooler'):
    if f'{name}/kernel' in weights:
      return weights[f'{name}/kernel'], weights[f'{name}/bias']
  return None


def _unfinished(source: CheckpointSource, architecture: Architecture
                ) -> list[str]:
  """Why a checkpoint is not yet the model that its run is to give."""
  values = {
      'query_pool_size': (architecture.query_pool_size, 1,
                          'its layer-0 queries are pooled'),
      'ffn_sharing': (architecture.ffn_sharing, 1,
                      'its feed-forward units are shared'),
      'ffn_rank': (architecture.ffn_rank, None,
                   'its feed-forward blocks are factorised'),
      'norm_source_size': (architecture.norm_source_size, None,
                           'its LayerNorms are weighted')}
  reasons = [f'{words} ({name} {value})'
             for name, (value, untreated, words) in values.items()
             if value != untreated]
  target = _target(source)
  if target is not None:
    reasons += [
        f'{name} is {getattr(architecture, name)} of {getattr(target, name)}'
        for name in ('num_layers', 'hidden_size', 'num_heads', 'inner_size')
        if getattr(architecture, name) != getattr(target, name)]
  return reasons


def _target(source: CheckpointSource) -> Architecture | None:
  """What the run of a checkpoint ends with; None if it is of no run."""
  directory = os.path.dirname(source.prefix)
  for run in (directory, os.path.join(directory, os.pardir)):
    path = os.path.join(run, SCHEDULE_FILE)
    if tf.io.gfile.exists(path):
      with tf.io.gfile.GFile(path) as file:
        return Architecture(**json.loads(file.read())['target'])
  return None
