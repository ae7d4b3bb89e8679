"""What a growth did to a model's outputs, measured on text."""

from collections.abc import Iterable, Mapping
import dataclasses

import numpy as np
import tensorflow as tf, tf_keras

from official_ext.growth.growth_maps import GrowthMaps
from official_ext.modeling import gpt_pretrainer


@dataclasses.dataclass(frozen=True)
class GrowthParity:
  """Outputs before and after a growth, dropout off and queries not pooled.

  Differences are the largest absolute ones, over all tokens of all rows.

  Attributes:
    rows: how many there were.
    predictions: tokens over which the losses are means.
    loss_before, loss_after: of masked or causal language modelling, in nats;
      None without such a head.
    logit_difference: of that head; None without one.
    largest_logit: greatest absolute logit before.
    hidden_differences: after each of the lowest layers that are still the
      source's in their order; target unit j against the source unit that it
      copies. A GPT shows no hidden states but its last.
    last_hidden_difference: the same for the last layer of each model; for a
      GPT, whose last LayerNorm is shared among copies, their sum is compared.
    largest_hidden: greatest absolute value in the source's last layer.
  """

  rows: int
  predictions: int
  loss_before: float | None
  loss_after: float | None
  logit_difference: float | None
  largest_logit: float | None
  hidden_differences: tuple[float, ...]
  last_hidden_difference: float
  largest_hidden: float


@dataclasses.dataclass
class _Outputs:
  """One model's on one batch.

  Attributes:
    hidden: [batch, length, hidden] after each layer.
    logits: [batch, predictions, vocab]; None without a head.
    labels, weights: [batch, predictions].
  """

  hidden: list[np.ndarray]
  logits: np.ndarray | None
  labels: np.ndarray
  weights: np.ndarray


def measure(before: tf_keras.Model, after: tf_keras.Model, maps: GrowthMaps,
            batches: Iterable[Mapping[str, tf.Tensor]], *,
            has_head: bool) -> GrowthParity:
  """Runs both models on the same batches.

  Args:
    before: a pretrainer without pooled queries.
    after: what it grew into, without pooled queries.
    maps: of that growth.
    batches: see `parity_text.batches`.
    has_head: whether there is a head that predicts tokens.
  """
  units = np.asarray(maps.residual.sources)
  copies = np.flatnonzero(units < maps.residual.old_size)
  # What is still the source's own stack, from the bottom.
  kept = 0
  while kept < len(maps.layers) and maps.layers[kept] == kept:
    kept += 1
  is_gpt = before.architecture.family == 'gpt'
  if is_gpt:
    kept = 0

  rows, weight = 0, 0.0
  losses = np.zeros(2)
  differences = np.zeros(kept + 3)  # of the kept layers, the last one, logits
  largest_hidden = largest_logit = 0.0
  for features in batches:
    old, new = (_outputs(model, features, has_head) for model in (before, after))
    there = features['input_mask'].numpy().astype(bool)
    rows += len(there)
    weight += old.weights.sum()
    pairs = [*zip(old.hidden[:kept], new.hidden[:kept]),
             (old.hidden[-1], new.hidden[-1])]
    for index, (mine, grown) in enumerate(pairs):
      mine, grown = mine[there], grown[there][:, copies]
      if is_gpt:
        # The tied head needs copies of the last LayerNorm that add up to it.
        grown = grown @ np.eye(maps.residual.old_size)[units[copies]]
      else:
        mine = mine[:, units[copies]]
      differences[index] = _larger(differences[index], mine - grown)
    largest_hidden = _larger(largest_hidden, old.hidden[-1][there])
    if has_head:
      counted = old.weights > 0
      differences[-1] = _larger(
          differences[-1], old.logits[counted] - new.logits[counted])
      largest_logit = _larger(largest_logit, old.logits[counted])
      losses += [_loss_sum(old), _loss_sum(new)]
  loss_before, loss_after = losses / weight if has_head else (None, None)
  return GrowthParity(
      rows=rows, predictions=int(weight),
      loss_before=_plain(loss_before), loss_after=_plain(loss_after),
      logit_difference=_plain(differences[-1]) if has_head else None,
      largest_logit=_plain(largest_logit) if has_head else None,
      hidden_differences=tuple(map(_plain, differences[:kept])),
      last_hidden_difference=_plain(differences[kept]),
      largest_hidden=_plain(largest_hidden))


def _outputs(model: tf_keras.Model, features: Mapping[str, tf.Tensor],
             has_head: bool) -> _Outputs:
  if model.architecture.family == 'gpt':
    features = {'input_word_ids': features['unmasked_word_ids'],
                'input_mask': features['input_mask']}
    outputs = model(features, training=False)
    labels, weights = gpt_pretrainer.next_tokens(features)
    hidden, logits = [outputs['sequence_output']], outputs['logits']
  else:
    if not has_head:
      # Nobody asks it about masks.
      features = {**features, 'input_word_ids': features['unmasked_word_ids']}
    outputs = model.encoder_network(dict(features), training=False)
    labels, weights = features['masked_lm_ids'], features['masked_lm_weights']
    hidden, logits = outputs['encoder_outputs'], None
    if has_head:
      logits = model.comparison_logits(features)
  return _Outputs(
      [np.asarray(layer, np.float64) for layer in hidden],
      None if logits is None else np.asarray(logits, np.float64),
      labels.numpy(), weights.numpy())


def _loss_sum(outputs: _Outputs) -> float:
  """Cross entropy of the labels, added up over those that count."""
  logits = outputs.logits - outputs.logits.max(-1, keepdims=True)
  chosen = np.take_along_axis(logits, outputs.labels[..., None], axis=-1)[..., 0]
  return float(np.sum(
      outputs.weights * (np.log(np.exp(logits).sum(-1)) - chosen)))


def _larger(largest: float, values: np.ndarray) -> float:
  # NaN has to win.
  return float(np.max([largest, np.max(np.abs(values), initial=0.0)]))


def _plain(value: float | None) -> float | None:
  return None if value is None else float(value)
