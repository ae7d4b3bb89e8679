"""Canonical names of a pre-trainer's weights, with the meaning of each axis.

Every weight is described once, here; growing weights, moments and learning
rates all read the same description.
"""

from collections.abc import Iterable
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
      'head_size', 'rank', 'vocab', 'position', 'type' and 'class' keep their
      size.
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


def block_name(layer: int, name: str) -> str:
  """The full name of a weight of one block."""
  return f'layer_{layer}/{name}'


def with_layer(name: str, layer: int) -> str:
  """The same weight of another block; names outside the blocks are unchanged."""
  return _LAYER.sub(block_name(layer, ''), name, count=1)


def heads_in(names: Iterable[str]) -> dict[str, bool]:
  """Which heads some weights belong to, as arguments of `weight_specs`."""
  rooms = {name.split('/', 1)[0] for name in names}
  return {f'has_{head}': head in rooms
          for head in ('pooler', 'masked_lm', 'next_sentence')}


def weight_specs(
    architecture: Architecture,
    *,
    has_pooler: bool = True,
    has_masked_lm: bool = True,
    has_next_sentence: bool = True,
) -> dict[str, WeightSpec]:
  """Describes every trainable weight of a BERT or a GPT.

  Biases and LayerNorm weights carry role 'out': they produce units. Only the
  LayerNorm before the decoder (of the masked-LM head, or a GPT's last) carries
  'in', because the decoder is tied to the word embedding, whose columns are
  copied, so the sum over the copies has to be made up for here: gamma and beta
  are divided by the number of copies of a residual unit.

  Args:
    architecture: the model.
    has_pooler: whether a BERT has its pooler.
    has_masked_lm: whether a BERT has its masked-LM head.
    has_next_sentence: whether a BERT has its next-sentence head.

  Returns:
    name -> WeightSpec, in the order of the forward pass.
  """
  sizes = {
      'residual': architecture.hidden_size,
      'head': architecture.num_heads,
      'head_size': architecture.head_size,
      'inner': architecture.stored_inner_size,
      'rank': architecture.ffn_rank,
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

  def add_ffn(name: str, group_in: str, group_out: str):
    if architecture.ffn_rank is None:
      add(f'{name}/kernel', (group_in, 'in'), (group_out, 'out'))
    else:
      add(f'{name}/kernel_in', (group_in, 'in'), ('rank', 'out'))
      add(f'{name}/kernel_out', ('rank', 'in'), (group_out, 'out'))
    add(f'{name}/bias', (group_out, 'out'))

  is_bert = architecture.family == 'bert'
  add('embeddings/word', ('vocab', 'copy'), ('residual', 'out'))
  add('embeddings/position', ('position', 'copy'), ('residual', 'out'))
  if is_bert:
    add('embeddings/type', ('type', 'copy'), ('residual', 'out'))
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
    add_ffn(f'{block}/ffn/inner', 'residual', 'inner')
    add_ffn(f'{block}/ffn/output', 'inner', 'residual')
    add_norm(f'{block}/ffn/norm')
  if not is_bert:
    add_norm('final_norm', role='in')
    return specs
  if has_pooler:
    add_square('pooler')
  if has_masked_lm:
    add_square('masked_lm/dense')
    add_norm('masked_lm/norm', role='in')
    add('masked_lm/output_bias', ('vocab', 'copy'))
  if has_next_sentence:
    add_square('next_sentence/dense')
    add('next_sentence/output/kernel', ('residual', 'in'), ('class', 'out'))
    add('next_sentence/output/bias', ('class', 'out'))
  return specs
