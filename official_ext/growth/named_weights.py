"""Canonical names of a BERT pre-trainer's weights, with the meaning of each axis.

Every weight is described once, here; growing weights, moments and learning
rates all read the same description.
"""

import dataclasses
import re

from official_ext.growth.architecture import Architecture

_LAYER = re.compile(r'layer_(\d+)/')
_NUM_CLASSES = 2


@dataclasses.dataclass(frozen=True)
class Axis:
  """What one axis of a weight counts.

  Attributes:
    group: the units along the axis. 'residual', 'head' and 'inner' are widened;
      'head_size', 'vocab', 'position', 'type' and 'class' keep their size.
    role: 'in' if the layer sums over the axis, 'out' if it produces the units,
      'copy' if the axis is looked up or listed and belongs to no sum. An 'in'
      axis shares its weights among copies, an 'out' axis shares its gradients.
  """

  group: str
  role: str


@dataclasses.dataclass(frozen=True)
class WeightSpec:
  """Shape of one weight and the meaning of its axes."""

  shape: tuple[int, ...]
  axes: tuple[Axis, ...]


def layer_of(name: str) -> int | None:
  """The block that a weight belongs to; None outside the blocks."""
  match = _LAYER.match(name)
  return int(match.group(1)) if match else None


def with_layer(name: str, layer: int) -> str:
  """The same weight of another block; names outside the blocks are unchanged."""
  return _LAYER.sub(f'layer_{layer}/', name, count=1)


def weight_specs(
    architecture: Architecture, *, has_next_sentence: bool = True
) -> dict[str, WeightSpec]:
  """Describes every trainable weight of a BERT pre-trainer.

  Biases and LayerNorm weights carry role 'out': they produce units. Only the
  LayerNorm of the masked-LM head carries 'in', because the decoder that follows
  it is tied to the word embedding, whose columns are copied, so the sum over
  the copies has to be made up for here: gamma and beta are divided by the
  number of copies of a residual unit.

  Args:
    architecture: the model.
    has_next_sentence: whether the next-sentence head exists.

  Returns:
    name -> WeightSpec, in the order of the forward pass.

  Raises:
    ValueError: if the feed-forward blocks are factorised.
  """
  if architecture.ffn_rank is not None:
    raise ValueError(
        f'weight_specs: ffn_rank is {architecture.ffn_rank}; factorised '
        'feed-forward blocks have no names yet, give None.')
  sizes = {
      'residual': architecture.hidden_size,
      'head': architecture.num_heads,
      'head_size': architecture.head_size,
      'inner': architecture.stored_inner_size,
      'vocab': architecture.vocab_size,
      'position': architecture.max_positions,
      'type': architecture.type_vocab_size,
      'class': _NUM_CLASSES,
  }
  specs = {}

  def add(name: str, *axes: tuple[str, str]):
    specs[name] = WeightSpec(
        tuple(sizes[group] for group, _ in axes),
        tuple(Axis(group, role) for group, role in axes))

  def add_norm(name: str, role: str = 'out'):
    add(f'{name}/gamma', ('residual', role))
    add(f'{name}/beta', ('residual', role))

  def add_square(name: str):
    add(f'{name}/kernel', ('residual', 'in'), ('residual', 'out'))
    add(f'{name}/bias', ('residual', 'out'))

  for table, group in (
      ('word', 'vocab'), ('position', 'position'), ('type', 'type')):
    add(f'embeddings/{table}', (group, 'copy'), ('residual', 'out'))
  add_norm('embeddings/norm')
  for layer in range(architecture.num_layers):
    block = f'layer_{layer}'
    for projection in ('query', 'key', 'value'):
      name = f'{block}/attention/{projection}'
      add(f'{name}/kernel',
          ('residual', 'in'), ('head', 'out'), ('head_size', 'out'))
      add(f'{name}/bias', ('head', 'out'), ('head_size', 'out'))
    add(f'{block}/attention/output/kernel',
        ('head', 'in'), ('head_size', 'in'), ('residual', 'out'))
    add(f'{block}/attention/output/bias', ('residual', 'out'))
    add_norm(f'{block}/attention/norm')
    add(f'{block}/ffn/inner/kernel', ('residual', 'in'), ('inner', 'out'))
    add(f'{block}/ffn/inner/bias', ('inner', 'out'))
    add(f'{block}/ffn/output/kernel', ('inner', 'in'), ('residual', 'out'))
    add(f'{block}/ffn/output/bias', ('residual', 'out'))
    add_norm(f'{block}/ffn/norm')
  add_square('pooler')
  add_square('masked_lm/dense')
  add_norm('masked_lm/norm', role='in')
  add('masked_lm/output_bias', ('vocab', 'copy'))
  if has_next_sentence:
    add_square('next_sentence/dense')
    add('next_sentence/output/kernel', ('residual', 'in'), ('class', 'out'))
    add('next_sentence/output/bias', ('class', 'out'))
  return specs
