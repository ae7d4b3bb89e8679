"""A pre-LN GPT with a tied head in plain NumPy, from GPT-2's description.

It knows nothing of growth and is analytic, as `numpy_bert` is.
"""

import numpy as np

from tests.growth import numpy_bert


def random_inputs(architecture, seed=1, batch=2, length=6):
  rng = np.random.default_rng(seed)
  mask = np.ones((batch, length))
  mask[0, -2:] = 0
  return {
      'ids': rng.integers(architecture.vocab_size, size=(batch, length)),
      'mask': mask,
  }


def block(x, mask, weights, name, activation, norm):
  length = x.shape[1]
  # A query sees the keys up to its own place.
  allowed = np.tril(np.ones((length, length))) * mask[:, None, None, :]
  x = x + numpy_bert.attention(
      norm(x, weights, f'{name}/attention/norm'), allowed, weights,
      f'{name}/attention')
  inner = norm(x, weights, f'{name}/ffn/norm')
  inner = activation(numpy_bert.dense(inner, weights, f'{name}/ffn/inner'))
  return x + numpy_bert.dense(inner, weights, f'{name}/ffn/output')


def forward(weights, inputs, layers, *, activation='gelu_tanh', epsilon=1e-5,
            norm_weights=None):
  """Logits [batch, sequence, vocab]; `layers` as in `numpy_bert.forward`."""
  activation = numpy_bert.ACTIVATIONS[activation]

  def norm(x, weights, name):
    return numpy_bert.layer_norm(x, weights, name, epsilon, norm_weights)

  x = (weights['embeddings/word'][inputs['ids']]
       + weights['embeddings/position'][:inputs['ids'].shape[1]])
  for layer in layers:
    x = layer(x) if callable(layer) else block(
        x, inputs['mask'], weights, f'layer_{layer}', activation, norm)
  x = norm(x, weights, 'final_norm')
  return {'logits': x @ weights['embeddings/word'].T}


def loss(weights, inputs, layers, **options):
  """Mean cross-entropy of the next token, where there is one."""
  scores = forward(weights, inputs, layers, **options)['logits'][:, :-1]
  labels, real = inputs['ids'][:, 1:], inputs['mask'][:, 1:]
  log_total = np.log(np.exp(scores).sum(-1))
  picked = np.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
  return ((log_total - picked) * real).sum() / real.sum()


def gradient(weights, inputs, layers, names=None, **options):
  return numpy_bert.gradient(
      weights, inputs, layers, names, loss=loss, **options)


def logits(weights, architecture, ids, *, num_layers=None):
  """Scores [tokens, vocab] of one sequence without padding.

  Args:
    weights: canonical name -> array.
    architecture: of which only numbers are read.
    ids: [tokens].
    num_layers: blocks from the bottom; None means all.
  """
  ids = np.asarray(ids)[np.newaxis]
  weights = {name: np.asarray(w, np.float64) for name, w in weights.items()}
  return forward(
      weights, {'ids': ids, 'mask': np.ones(ids.shape)},
      range(num_layers or architecture.num_layers),
      **numpy_bert.options_of(architecture))['logits'][0]


def rows_loss(weights, architecture, rows, *, num_layers=None):
  """Mean cross entropy of all next tokens of sequences without padding."""
  losses = []
  for ids in rows:
    scores = logits(weights, architecture, ids, num_layers=num_layers)[:-1]
    log_total = np.log(np.exp(scores).sum(-1))
    losses.append(log_total - scores[np.arange(len(ids) - 1), ids[1:]])
  return np.concatenate(losses).mean()
