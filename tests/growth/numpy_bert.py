"""A post-LN BERT with its heads in plain NumPy: the independent computation.

It is written from the papers, knows nothing of growth, and is analytic, so that
complex-step differentiation gives its gradients to machine precision.
"""

import numpy as np

EPSILON = 1e-12


def random_weights(specs, seed=0, dtype=np.float64):
  rng = np.random.default_rng(seed)
  return {
      name: (rng.normal(size=spec.shape) * 0.4
             + (1.0 if name.endswith('gamma') else 0.0)).astype(dtype)
      for name, spec in specs.items()}


def random_inputs(architecture, seed=1, batch=2, length=6, predictions=3):
  rng = np.random.default_rng(seed)
  mask = np.ones((batch, length))
  mask[0, -2:] = 0
  return {
      'ids': rng.integers(architecture.vocab_size, size=(batch, length)),
      'types': rng.integers(architecture.type_vocab_size, size=(batch, length)),
      'mask': mask,
      'positions': rng.integers(length - 2, size=(batch, predictions)),
      'labels': rng.integers(architecture.vocab_size, size=(batch, predictions)),
      'next': rng.integers(2, size=(batch,)),
  }


def gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))


def layer_norm(x, weights, name):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
  return x * weights[f'{name}/gamma'] + weights[f'{name}/beta']


def dense(x, weights, name):
  return x @ weights[f'{name}/kernel'] + weights[f'{name}/bias']


def block(x, mask, weights, name):
  def project(what):
    kernel = weights[f'{name}/attention/{what}/kernel']
    return (np.einsum('btd,dhk->bhtk', x, kernel)
            + weights[f'{name}/attention/{what}/bias'][None, :, None])
  query, key, value = project('query'), project('key'), project('value')
  scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
  scores = np.exp(scores) * mask[:, None, None, :]
  context = scores / scores.sum(-1, keepdims=True) @ value
  attended = np.einsum(
      'bhtk,hkd->btd', context, weights[f'{name}/attention/output/kernel'])
  attended = attended + weights[f'{name}/attention/output/bias']
  x = layer_norm(x + attended, weights, f'{name}/attention/norm')
  inner = gelu(dense(x, weights, f'{name}/ffn/inner'))
  return layer_norm(
      x + dense(inner, weights, f'{name}/ffn/output'), weights,
      f'{name}/ffn/norm')


def forward(weights, inputs, layers):
  """Logits of both heads; `layers` are the indices of the blocks, in order."""
  x = (weights['embeddings/word'][inputs['ids']]
       + weights['embeddings/type'][inputs['types']]
       + weights['embeddings/position'][:inputs['ids'].shape[1]])
  x = layer_norm(x, weights, 'embeddings/norm')
  for layer in layers:
    x = block(x, inputs['mask'], weights, f'layer_{layer}')
  rows = np.take_along_axis(x, inputs['positions'][..., None], axis=1)
  rows = layer_norm(
      gelu(dense(rows, weights, 'masked_lm/dense')), weights, 'masked_lm/norm')
  pooled = np.tanh(dense(x[:, 0], weights, 'pooler'))
  sentence = np.tanh(dense(pooled, weights, 'next_sentence/dense'))
  return {
      'masked_lm': (rows @ weights['embeddings/word'].T
                    + weights['masked_lm/output_bias']),
      'next_sentence': dense(sentence, weights, 'next_sentence/output'),
  }


def cross_entropy(logits, labels):
  log_total = np.log(np.exp(logits).sum(-1))
  picked = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
  return (log_total - picked).mean()


def loss(weights, inputs, layers):
  outputs = forward(weights, inputs, layers)
  return (cross_entropy(outputs['masked_lm'], inputs['labels'])
          + cross_entropy(outputs['next_sentence'], inputs['next']))


def gradient(weights, inputs, layers, names=None):
  """Every gradient by the complex step: d = Im loss(w + ih) / h, h = 1e-30."""
  found = {}
  for name in names or weights:
    found[name] = np.zeros(weights[name].shape)
    for index in np.ndindex(weights[name].shape):
      moved = weights[name].astype(complex)
      moved[index] += 1e-30j
      found[name][index] = loss(
          {**weights, name: moved}, inputs, layers).imag / 1e-30
  return found
