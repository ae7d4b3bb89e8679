"""A GPT in float64 NumPy, token by token: the independent computation.

Written from GPT-2's description; loops over heads and queries, so that causality
is a slice and not a mask.
"""

import math

import numpy as np


def activation(name):
  # TensorFlow keeps these two of its constants in float32, whatever x is.
  cubic, half_root = float(np.float32(0.044715)), float(np.float32(0.5 ** 0.5))
  return {
      'gelu_tanh': lambda x: 0.5 * x * (
          1 + np.tanh(np.sqrt(2 / np.pi) * (x + cubic * x ** 3))),
      'gelu_erf': lambda x: 0.5 * x * (
          1 + np.vectorize(math.erf, otypes=[float])(x * half_root)),
      'relu': lambda x: np.maximum(x, 0),
  }[name]


def layer_norm(x, weights, name, architecture):
  """Also over the units of a narrower model, of which these are copies."""
  source = architecture.norm_source_size or x.shape[-1]
  sources = np.arange(x.shape[-1]) % source
  share = 1 / np.bincount(sources)[sources] / source
  centred = x - (share * x).sum(-1, keepdims=True)
  variance = (share * np.square(centred)).sum(-1, keepdims=True)
  scale = np.sqrt(variance + architecture.norm_epsilon)
  return centred / scale * weights[f'{name}/gamma'] + weights[f'{name}/beta']


def dense(x, weights, name):
  kernel = weights.get(f'{name}/kernel')
  if kernel is None:
    kernel = weights[f'{name}/kernel_in'] @ weights[f'{name}/kernel_out']
  return x @ kernel + weights[f'{name}/bias']


def attention(x, weights, name):
  """Causal self-attention of one sequence `[tokens, hidden]`."""
  def kernel(what):
    return weights[f'{name}/{what}/kernel'], weights[f'{name}/{what}/bias']

  result = np.tile(kernel('output')[1], (len(x), 1))
  for head in range(kernel('query')[0].shape[1]):
    query, key, value = (
        x @ kernel(what)[0][:, head] + kernel(what)[1][head]
        for what in ('query', 'key', 'value'))
    for token in range(len(x)):
      scores = key[:token + 1] @ query[token] / np.sqrt(key.shape[1])
      probabilities = np.exp(scores - scores.max())
      probabilities /= probabilities.sum()
      result[token] += (
          probabilities @ value[:token + 1]) @ kernel('output')[0][head]
  return result


def logits(weights, architecture, ids, *, num_layers=None):
  """Scores `[tokens, vocab]` of one sequence without padding.

  Args:
    weights: canonical name -> array.
    architecture: of which only numbers are read.
    ids: `[tokens]`.
    num_layers: blocks from the bottom; None means all.
  """
  weights = {name: np.asarray(w, np.float64) for name, w in weights.items()}
  activate = activation(architecture.activation)
  x = weights['embeddings/word'][ids] + weights['embeddings/position'][:len(ids)]
  for layer in range(num_layers or architecture.num_layers):
    block = f'layer_{layer}'
    x = x + attention(
        layer_norm(x, weights, f'{block}/attention/norm', architecture), weights,
        f'{block}/attention')
    inner = activate(dense(
        layer_norm(x, weights, f'{block}/ffn/norm', architecture), weights,
        f'{block}/ffn/inner'))
    x = x + dense(inner, weights, f'{block}/ffn/output')
  return layer_norm(
      x, weights, 'final_norm', architecture) @ weights['embeddings/word'].T


def loss(weights, architecture, rows, *, num_layers=None):
  """Mean cross entropy of all next tokens of sequences without padding."""
  losses = []
  for ids in rows:
    scores = logits(weights, architecture, ids, num_layers=num_layers)[:-1]
    log_sum = np.log(np.exp(scores).sum(-1))
    losses.append(log_sum - scores[np.arange(len(ids) - 1), ids[1:]])
  return np.concatenate(losses).mean()
