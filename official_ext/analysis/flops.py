"""FLOPs and parameters of an `Architecture`, counted op by op; needs no TensorFlow.

Only matrix products are counted, two FLOPs a multiply-add. Everything else
(LayerNorm, softmax, GELU, dropout, gathers, the optimizer) grows with the
activations or the weights, not with their product, and is left out, as in the
papers' own numbers.

Symbols, per sequence:

  S  tokens of the sequence             d  hidden_size
  Q  tokens after layer 0               a  num_heads * head_size
  P  masked tokens (num_predictions)    f  stored_inner_size
  V  vocab_size                         h  ffn_rank

The forward pass is the whole one, as the papers count it. That of a BERT's
training step is cheaper: its last block has queries for [CLS] and the masked
tokens only, since no head reads the rest. The step costs three such passes: each
product `Y = X W` has two of the same size in the backward pass, for dX and for
dW. Where only the top of the model is trained, what lies below costs one forward
pass.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import math
import statistics

from official_ext.growth.architecture import Architecture
from official_ext.growth.named_weights import weight_specs

# For the gradients of a product's two factors.
_BACKWARD_PASSES = 2


@dataclasses.dataclass(frozen=True)
class Flops:
  """FLOPs by the part of the model that spends them.

  Attributes:
    embedding: the segment embedding, which Model Garden computes as a one-hot
      product, and the pooling of the layer-0 queries.
    attention: query, key, value and output projections, scores and context.
    ffn: the feed-forward blocks.
    head: of a BERT pooler, masked-language-model transform, vocabulary product
      over the predictions, next-sentence head; of a GPT the vocabulary product
      over all tokens.
  """

  embedding: int
  attention: int
  ffn: int
  head: int

  @property
  def total(self) -> int:
    return self.embedding + self.attention + self.ffn + self.head

  def scaled(self, factor: int) -> 'Flops':
    return Flops(**{name: value * factor
                    for name, value in dataclasses.asdict(self).items()})

  def plus(self, other: 'Flops') -> 'Flops':
    return Flops(**{name: value + getattr(other, name)
                    for name, value in dataclasses.asdict(self).items()})


def _product(*sizes: int) -> int:
  """FLOPs of a matrix product whose distinct axes have these sizes."""
  flops = 2
  for size in sizes:
    flops *= size
  return flops


def _embedding_flops(architecture: Architecture, num_predictions: int) -> int:
  length, width = architecture.sequence_length, architecture.hidden_size
  # [S, types] x [types, d]
  flops = _product(length, architecture.type_vocab_size, width)
  if architecture.query_pool_size > 1:
    # [slots, S] x [S, d]; [CLS] and the masked tokens are gathered.
    slots = architecture.pooled_slots(num_predictions)
    flops += _product(slots, length, width)
  return flops


def _attention_flops(
    architecture: Architecture, queries: int, keys: int) -> int:
  """One block with `queries` rows attending to `keys` rows."""
  width = architecture.hidden_size
  heads = architecture.num_heads * architecture.head_size
  return (_product(queries, width, heads)       # query
          + 2 * _product(keys, width, heads)    # key, value
          + _product(queries, keys, heads)      # scores
          + _product(queries, keys, heads)      # context
          + _product(queries, heads, width))    # output


def _ffn_flops(architecture: Architecture, rows: int) -> int:
  width = architecture.hidden_size
  inner = architecture.stored_inner_size
  rank = architecture.ffn_rank
  if rank is None:
    return 2 * _product(rows, width, inner)
  return 2 * (_product(rows, width, rank) + _product(rows, rank, inner))


def _head_flops(architecture: Architecture, num_predictions: int,
                has_next_sentence: bool) -> int:
  width = architecture.hidden_size
  if architecture.family == 'gpt':
    return _product(
        architecture.sequence_length, width, architecture.vocab_size)
  flops = (_product(1, width, width)                         # pooler, [CLS] only
           + _product(num_predictions, width, width)         # transform
           + _product(num_predictions, width, architecture.vocab_size))
  if has_next_sentence:
    flops += _product(1, width, width) + _product(1, width, 2)
  return flops


def forward_breakdown(architecture: Architecture, num_predictions: int,
                      batch_size: int = 1, *, has_next_sentence: bool = True,
                      predictions_only: bool = False) -> Flops:
  """FLOPs of one forward pass, by group.

  In a stage with pooled queries, layer 0 has `Q` query rows and `S` key and value
  rows; every later layer sees `Q` rows only. CompoundGrow, section 3.1.

  Args:
    architecture: the model as it is trained, treatments included.
    num_predictions: masked tokens a sequence has room for, P.
    batch_size: sequences.
    has_next_sentence: whether the next-sentence head is there.
    predictions_only: whether a BERT's last block is computed only where
      pre-training reads it, as in a training step.

  Returns:
    FLOPs of the whole batch.

  Raises:
    ValueError: if `num_predictions` or `batch_size` cannot be.
  """
  if not 0 <= num_predictions <= architecture.sequence_length:
    raise ValueError(
        f'num_predictions is {num_predictions}; give 0 to sequence_length '
        f'{architecture.sequence_length}.')
  if batch_size < 1:
    raise ValueError(f'batch_size is {batch_size}; give at least 1.')
  layers = _layer_flops(architecture, num_predictions, predictions_only)
  return Flops(
      embedding=_embedding_flops(architecture, num_predictions),
      attention=sum(attention for attention, _ in layers),
      ffn=sum(ffn for _, ffn in layers),
      head=_head_flops(architecture, num_predictions, has_next_sentence),
  ).scaled(batch_size)


def _layer_rows(architecture: Architecture, num_predictions: int,
                predictions_only: bool) -> list[tuple[int, int]]:
  """(queries, keys) of each block."""
  rows = architecture.query_length(num_predictions)
  layers = [(rows, rows) for _ in range(architecture.num_layers)]
  layers[0] = rows, architecture.sequence_length
  if predictions_only and architecture.family == 'bert':
    layers[-1] = 1 + num_predictions, layers[-1][1]
  return layers


def _layer_flops(architecture: Architecture, num_predictions: int,
                 predictions_only: bool) -> list[tuple[int, int]]:
  """(attention, ffn) of a forward pass through each block."""
  return [
      (_attention_flops(architecture, queries, keys),
       _ffn_flops(architecture, queries))
      for queries, keys in _layer_rows(
          architecture, num_predictions, predictions_only)]


def train_breakdown(architecture: Architecture, num_predictions: int,
                    batch_size: int = 1, *, has_next_sentence: bool = True,
                    trained_layers: int | None = None) -> Flops:
  """FLOPs of one training step, by group; see the top of the file.

  Args:
    architecture: the model as it is trained, treatments included.
    num_predictions: masked tokens a sequence has room for, P.
    batch_size: sequences.
    has_next_sentence: whether the next-sentence head is there.
    trained_layers: blocks from the top that are trained, with the heads; what
      is below them has no backward pass. None means that everything is trained.
  """
  forward = forward_breakdown(
      architecture, num_predictions, batch_size,
      has_next_sentence=has_next_sentence, predictions_only=True)
  if trained_layers is None:
    return forward.scaled(1 + _BACKWARD_PASSES)
  trained = _layer_flops(architecture, num_predictions, True)[-trained_layers:]
  queries, keys = _layer_rows(
      architecture, num_predictions, True)[-trained_layers]
  # The lowest block's input is frozen: its projections pass no gradient on, but
  # where a LayerNorm that is trained stands before them, as in a GPT.
  not_passed_on = 0 if architecture.family == 'gpt' else _product(
      queries + 2 * keys, architecture.hidden_size,
      architecture.num_heads * architecture.head_size)
  backward = Flops(
      embedding=0,
      attention=(_BACKWARD_PASSES * sum(attention for attention, _ in trained)
                 - not_passed_on),
      ffn=_BACKWARD_PASSES * sum(ffn for _, ffn in trained),
      head=_BACKWARD_PASSES * _head_flops(
          architecture, num_predictions, has_next_sentence))
  return forward.plus(backward.scaled(batch_size))


def forward_flops(architecture: Architecture, num_predictions: int,
                  batch_size: int = 1, *,
                  has_next_sentence: bool = True) -> int:
  """FLOPs of one forward pass; see `forward_breakdown`."""
  return forward_breakdown(
      architecture, num_predictions, batch_size,
      has_next_sentence=has_next_sentence).total


def train_flops(architecture: Architecture, num_predictions: int,
                batch_size: int = 1, *, has_next_sentence: bool = True,
                trained_layers: int | None = None) -> int:
  """FLOPs of one training step; see `train_breakdown`."""
  return train_breakdown(
      architecture, num_predictions, batch_size,
      has_next_sentence=has_next_sentence, trained_layers=trained_layers).total


def stage_train_flops(stage, num_predictions: int, batch_size: int = 1, *,
                      has_next_sentence: bool = True) -> int:
  """FLOPs of one training step of a stage, as it is trained.

  Args:
    stage: a `ResolvedStage`: `architecture`, `trained_layers`,
      `sub_model_layers`. Where every step draws a sub-model, the mean over all.
    num_predictions: masked tokens a sequence has room for, P.
    batch_size: sequences.
    has_next_sentence: whether the next-sentence head is there.
  """
  trained_layers = stage.trained_layers or stage.sub_model_layers
  return round(statistics.mean(
      train_flops(
          architecture, num_predictions, batch_size,
          has_next_sentence=has_next_sentence, trained_layers=trained_layers)
      for architecture in _drawn_architectures(stage)))


def stage_forward_flops(stage, num_predictions: int, batch_size: int = 1, *,
                        has_next_sentence: bool = True) -> int:
  """FLOPs of the whole forward pass of a stage; see `stage_train_flops`."""
  return round(statistics.mean(
      forward_flops(
          architecture, num_predictions, batch_size,
          has_next_sentence=has_next_sentence)
      for architecture in _drawn_architectures(stage)))


def _drawn_architectures(stage) -> list[Architecture]:
  """What the steps of a stage run, equally often."""
  architecture, part = stage.architecture, stage.sub_model_layers
  if part is None:
    return [architecture]
  return [architecture.replace(num_layers=depth)
          for depth in range(part, architecture.num_layers + 1, part)]


def parameter_count(architecture: Architecture, *,
                    has_next_sentence: bool = True) -> int:
  """Trainable parameters: encoder, pooler and pre-training heads.

  The vocabulary product is tied to the word embedding and counted once.
  """
  return sum(
      math.prod(spec.shape) for spec in weight_specs(
          architecture, has_next_sentence=has_next_sentence).values())


def schedule_speedup(
    stages: Iterable, num_predictions: int | Sequence[int], *,
    has_next_sentence: bool = True) -> float:
  """How much cheaper a schedule is than its last model at every step.

  Args:
    stages: `ResolvedStage`s in order.
    num_predictions: masked tokens a sequence has room for, in every stage or in
      each of them.
    has_next_sentence: whether the next-sentence head is there.

  Returns:
    Training FLOPs of the last stage's model for all the steps, over those of the
    schedule, minus one: 1.02 is a speed-up of +102 %.

  Raises:
    ValueError: if there is no stage, or no step in any.
  """
  stages = tuple(stages)
  steps = [stage.end_step - stage.start_step for stage in stages]
  if sum(steps) < 1 or min(steps) < 0:
    raise ValueError(
        f'schedule_speedup: stages of {steps} steps; give at least one stage, '
        'each of at least one step.')
  if isinstance(num_predictions, int):
    num_predictions = [num_predictions] * len(stages)
  costs = [
      stage_train_flops(stage, count, has_next_sentence=has_next_sentence)
      for stage, count in zip(stages, num_predictions, strict=True)]
  spent = sum(count * cost for count, cost in zip(steps, costs, strict=True))
  return sum(steps) * costs[-1] / spent - 1
