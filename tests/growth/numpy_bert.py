"""A post-LN BERT with its heads in plain NumPy: the independent computation.

It is written from the papers, knows nothing of growth, and is analytic, so that
complex-step differentiation gives its gradients to machine precision.
"""

import numpy as np
import scipy.special

EPSILON = 1e-12
# TensorFlow keeps these two constants in float32, whatever x is.
_GELU_CUBIC = float(np.float32(0.044715))
_ROOT_OF_HALF = float(np.float32(0.5 ** 0.5))


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
  return 0.5 * x * (
      1 + np.tanh(np.sqrt(2 / np.pi) * (x + _GELU_CUBIC * x ** 3)))


def gelu_erf(x):
  return 0.5 * x * (1 + scipy.special.erf(x * _ROOT_OF_HALF))


def relu(x):
  return np.where(np.real(x) > 0, x, 0)


ACTIVATIONS = {'gelu_tanh': gelu, 'gelu_erf': gelu_erf, 'relu': relu}


def options_of(architecture):
  """What else than weights shapes the function, as arguments of `forward`."""
  size, source_size = architecture.hidden_size, architecture.norm_source_size
  norm_weights = None
  if source_size:
    copies = [[j for j in range(size) if j % source_size == i % source_size]
              for i in range(size)]
    norm_weights = np.array([1 / (source_size * len(c)) for c in copies])
  return dict(activation=architecture.activation,
              epsilon=architecture.norm_epsilon, norm_weights=norm_weights)


def layer_norm(x, weights, name, epsilon=EPSILON, norm_weights=None):
  if norm_weights is None:
    norm_weights = np.full(x.shape[-1], 1 / x.shape[-1])
  x = x - (x * norm_weights).sum(-1, keepdims=True)
  x = x / np.sqrt((x * x * norm_weights).sum(-1, keepdims=True) + epsilon)
  return x * weights[f'{name}/gamma'] + weights[f'{name}/beta']


def dense(x, weights, name):
  if f'{name}/kernel' in weights:
    x = x @ weights[f'{name}/kernel']
  else:
    x = x @ weights[f'{name}/kernel_in'] @ weights[f'{name}/kernel_out']
  return x + weights[f'{name}/bias']


def attention(x, mask, weights, name):
  """`mask` broadcasts against [batch, heads, queries, keys]."""
  def project(what):
    kernel = weights[f'{name}/{what}/kernel']
    return (np.einsum('btd,dhk->bhtk', x, kernel)
            + weights[f'{name}/{what}/bias'][None, :, None])
  query, key, value = project('query'), project('key'), project('value')
  scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
  scores = np.exp(scores) * mask
  context = scores / scores.sum(-1, keepdims=True) @ value
  attended = np.einsum(
      'bhtk,hkd->btd', context, weights[f'{name}/output/kernel'])
  return attended + weights[f'{name}/output/bias']


def block(x, mask, weights, name, activation, norm):
  x = norm(
      x + attention(
          x, mask[:, None, None, :], weights, f'{name}/attention'),
      weights, f'{name}/attention/norm')
  inner = activation(dense(x, weights, f'{name}/ffn/inner'))
  return norm(
      x + dense(inner, weights, f'{name}/ffn/output'), weights,
      f'{name}/ffn/norm')


def forward(weights, inputs, layers, *, activation='gelu_tanh',
            epsilon=EPSILON, norm_weights=None):
  """Logits of both heads.

  `layers` are the indices of the blocks, in order; a function among them is
  applied to the residual stream.
  """
  activation = ACTIVATIONS[activation]

  def norm(x, weights, name):
    return layer_norm(x, weights, name, epsilon, norm_weights)

  x = (weights['embeddings/word'][inputs['ids']]
       + weights['embeddings/type'][inputs['types']]
       + weights['embeddings/position'][:inputs['ids'].shape[1]])
  x = norm(x, weights, 'embeddings/norm')
  for layer in layers:
    x = layer(x) if callable(layer) else block(
        x, inputs['mask'], weights, f'layer_{layer}', activation, norm)
  rows = np.take_along_axis(x, inputs['positions'][..., None], axis=1)
  rows = norm(
      activation(dense(rows, weights, 'masked_lm/dense')), weights,
      'masked_lm/norm')
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


def loss(weights, inputs, layers, **options):
  outputs = forward(weights, inputs, layers, **options)
  return (cross_entropy(outputs['masked_lm'], inputs['labels'])
          + cross_entropy(outputs['next_sentence'], inputs['next']))


def gradient(weights, inputs, layers, names=None, loss=loss, **options):
  """Every gradient by the complex step: d = Im loss(w + ih) / h, h = 1e-30."""
  found = {}
  for name in names or weights:
    found[name] = np.zeros(weights[name].shape)
    for index in np.ndindex(weights[name].shape):
      moved = weights[name].astype(complex)
      moved[index] += 1e-30j
      found[name][index] = loss(
          {**weights, name: moved}, inputs, layers, **options).imag / 1e-30
  return found
