"""A BERT as Hugging Face names and lays out its weights, in plain NumPy.

It is the independent computation for conversions: it multiplies by transposed
weights and splits heads as `transformers` does, and knows nothing of our names.
"""

import math

import numpy as np

PIECES = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'function',
          'returns', 'a', 'list', 'of', 'value', '##s')
CONFIG = dict(
    architectures=['BertForPreTraining'], model_type='bert',
    num_hidden_layers=2, hidden_size=8, num_attention_heads=2,
    intermediate_size=12, vocab_size=len(PIECES), max_position_embeddings=10,
    type_vocab_size=2, hidden_act='gelu', layer_norm_eps=1e-3)
ACTIVATIONS = {
    'gelu': lambda x: x * 0.5 * (1 + np.vectorize(math.erf)(x / 2 ** 0.5)),
    'gelu_new': lambda x: 0.5 * x * (1 + np.tanh(
        (2 / np.pi) ** 0.5 * (x + 0.044715 * x ** 3))),
    'relu': lambda x: np.maximum(x, 0),
}


def random_tensors(*, seed=0, pooler=True, masked_lm=True, next_sentence=True,
                   prefix='bert.'):
  """Tensors of `CONFIG`, by name."""
  random = np.random.default_rng(seed)
  hidden, inner = CONFIG['hidden_size'], CONFIG['intermediate_size']
  tensors = {}

  def linear(name, size_in, size_out):
    tensors[f'{name}.weight'] = random.normal(size=(size_out, size_in)) * 0.4
    tensors[f'{name}.bias'] = random.normal(size=size_out) * 0.4

  def norm(name):
    tensors[f'{name}.weight'] = 1 + random.normal(size=hidden) * 0.4
    tensors[f'{name}.bias'] = random.normal(size=hidden) * 0.4

  for name, rows in (('word', CONFIG['vocab_size']), ('token_type', 2),
                     ('position', CONFIG['max_position_embeddings'])):
    tensors[f'{prefix}embeddings.{name}_embeddings.weight'] = random.normal(
        size=(rows, hidden)) * 0.4
  norm(f'{prefix}embeddings.LayerNorm')
  for layer in range(CONFIG['num_hidden_layers']):
    block = f'{prefix}encoder.layer.{layer}'
    for part in ('self.query', 'self.key', 'self.value', 'output.dense'):
      linear(f'{block}.attention.{part}', hidden, hidden)
    norm(f'{block}.attention.output.LayerNorm')
    linear(f'{block}.intermediate.dense', hidden, inner)
    linear(f'{block}.output.dense', inner, hidden)
    norm(f'{block}.output.LayerNorm')
  if pooler:
    linear(f'{prefix}pooler.dense', hidden, hidden)
  if masked_lm:
    linear('cls.predictions.transform.dense', hidden, hidden)
    norm('cls.predictions.transform.LayerNorm')
    tensors['cls.predictions.bias'] = random.normal(size=CONFIG['vocab_size'])
  if next_sentence:
    linear('cls.seq_relationship', hidden, 2)
  return {name: array.astype(np.float32) for name, array in tensors.items()}


def inputs(batch=3, length=7):
  """Ids, segments and mask `[batch, length]`; the first row is padded."""
  random = np.random.default_rng(5)
  mask = np.ones((batch, length), np.int32)
  mask[0, -2:] = 0
  return dict(ids=random.integers(len(PIECES), size=(batch, length)),
              types=random.integers(2, size=(batch, length)), mask=mask)


def forward(tensors, ids, types, mask, config=CONFIG):
  """Hidden states of the embeddings and each layer, and the heads' outputs."""
  tensors = {name.removeprefix('bert.'): array.astype(np.float64)
             for name, array in tensors.items()}
  activation = ACTIVATIONS[config['hidden_act']]
  heads = config['num_attention_heads']

  def linear(x, name):
    return x @ tensors[f'{name}.weight'].T + tensors[f'{name}.bias']

  def norm(x, name):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt(x.var(-1, keepdims=True) + config['layer_norm_eps'])
    return x * tensors[f'{name}.weight'] + tensors[f'{name}.bias']

  def split(x):  # [batch, length, hidden] -> [batch, heads, length, head size]
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

  x = (tensors['embeddings.word_embeddings.weight'][ids]
       + tensors['embeddings.token_type_embeddings.weight'][types]
       + tensors['embeddings.position_embeddings.weight'][:ids.shape[1]])
  x = norm(x, 'embeddings.LayerNorm')
  hidden = [x]
  for layer in range(config['num_hidden_layers']):
    block = f'encoder.layer.{layer}'
    query, key, value = (
        split(linear(x, f'{block}.attention.self.{name}'))
        for name in ('query', 'key', 'value'))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    scores = np.where(mask[:, None, None, :] > 0, scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    context = (scores / scores.sum(-1, keepdims=True)) @ value
    context = context.transpose(0, 2, 1, 3).reshape(x.shape)
    x = norm(x + linear(context, f'{block}.attention.output.dense'),
             f'{block}.attention.output.LayerNorm')
    inner = activation(linear(x, f'{block}.intermediate.dense'))
    x = norm(x + linear(inner, f'{block}.output.dense'),
             f'{block}.output.LayerNorm')
    hidden.append(x)
  outputs = {'hidden': hidden}
  if 'pooler.dense.weight' in tensors:
    outputs['pooled'] = np.tanh(linear(x[:, 0], 'pooler.dense'))
  if 'cls.seq_relationship.weight' in tensors:
    outputs['next_sentence'] = linear(outputs['pooled'], 'cls.seq_relationship')
  if 'cls.predictions.bias' in tensors:
    rows = activation(linear(x, 'cls.predictions.transform.dense'))
    rows = norm(rows, 'cls.predictions.transform.LayerNorm')
    outputs['masked_lm'] = (
        rows @ tensors['embeddings.word_embeddings.weight'].T
        + tensors['cls.predictions.bias'])
  return outputs
