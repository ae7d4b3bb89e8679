"""What a Transformer looks like: all that shapes its weights, function or cost."""

import dataclasses
from typing import Any

from official_ext.growth import pooled_length

FAMILIES = ('bert', 'gpt')
ACTIVATIONS = ('gelu_tanh', 'gelu_erf', 'relu')
_NORM_EPSILONS = {'bert': 1e-12, 'gpt': 1e-5}
_TYPE_VOCAB_SIZES = {'bert': 2, 'gpt': 0}
_NOT_COUNTS = ('family', 'activation', 'norm_epsilon', 'type_vocab_size')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
  """A BERT or a GPT with its pre-training heads, together with its treatments.

  A *treatment* is a low-cost or transitional variant of a stage. The untreated
  architecture has `query_pool_size == ffn_sharing == 1`, no `ffn_rank` and no
  `norm_source_size`.

  Attributes:
    num_layers: number of Transformer blocks.
    hidden_size: width of the residual stream.
    num_heads: attention heads per block.
    head_size: width of one head; None means `hidden_size // num_heads`.
    inner_size: units of the untreated feed-forward block. What a treated block
      stores is `stored_inner_size`.
    vocab_size: rows of the word embedding.
    max_positions: rows of the position embedding.
    type_vocab_size: rows of the segment embedding; None means 2 for a BERT. A
      GPT has none, 0.
    query_pool_size: layer-0 queries are pooled over this many consecutive
      unmasked tokens (CompoundGrow, section 3.1); 1 means not pooled.
    ffn_sharing: the feed-forward block stores `inner_size / ffn_sharing` units
      (CompoundGrow, section 3.2); 1 means not shared.
    ffn_rank: rank of a factorised feed-forward block (CompoundGrow, section
      3.2); None means not factorised.
    sequence_length: tokens a sequence; None means `max_positions`.
    family: 'bert', an encoder with LayerNorms after the sublayers (Devlin et
      al., 2019), or 'gpt', a decoder with LayerNorms before them and a last
      one (Radford et al., 2019). Both tie the output to the word embedding.
    activation: of the feed-forward blocks and the masked-LM head: 'gelu_tanh'
      as in Model Garden and GPT-2, 'gelu_erf' as in Hugging Face's BERT, or
      'relu'.
    norm_epsilon: added to the variance in every LayerNorm; None means 1e-12
      for a BERT, 1e-5 for a GPT.
    norm_source_size: width of the smaller model whose LayerNorm statistics the
      LayerNorms of this one keep: the units count as copies, taken in turn, of
      so many units. Exact for any widening, also to a width that is no
      multiple; trained towards ordinary LayerNorms. None means ordinary ones.
  """

  num_layers: int
  hidden_size: int
  num_heads: int
  inner_size: int
  vocab_size: int
  max_positions: int = 512
  type_vocab_size: int | None = None
  head_size: int | None = None
  query_pool_size: int = 1
  ffn_sharing: int = 1
  ffn_rank: int | None = None
  sequence_length: int | None = None
  family: str = 'bert'
  activation: str = 'gelu_tanh'
  norm_epsilon: float | None = None
  norm_source_size: int | None = None

  def __post_init__(self):
    mistakes = []
    for name, choices in (
        ('family', FAMILIES), ('activation', ACTIVATIONS)):
      if getattr(self, name) not in choices:
        mistakes.append(
            f'{name} is {getattr(self, name)!r}; choose one of '
            f'{", ".join(choices)}')
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value is None and field.default is None or field.name in _NOT_COUNTS:
        continue
      if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        mistakes.append(
            f'{field.name} is {value!r}; give a whole number of at least 1')
    if not mistakes:
      mistakes = self._mistakes()
    if mistakes:
      raise ValueError('Architecture: ' + '; '.join(mistakes) + '.')
    if self.head_size is None:
      object.__setattr__(self, 'head_size', self.hidden_size // self.num_heads)
    for name, default in (
        ('sequence_length', self.max_positions),
        ('type_vocab_size', _TYPE_VOCAB_SIZES[self.family]),
        ('norm_epsilon', _NORM_EPSILONS[self.family])):
      if getattr(self, name) is None:
        object.__setattr__(self, name, default)

  def _mistakes(self) -> list[str]:
    mistakes = []
    if self.head_size is None and self.hidden_size % self.num_heads:
      mistakes.append(
          f'hidden_size {self.hidden_size} is not a multiple of num_heads '
          f'{self.num_heads}; change one of them or give head_size')
    if self.inner_size % self.ffn_sharing:
      mistakes.append(
          f'inner_size {self.inner_size} is not a multiple of ffn_sharing '
          f'{self.ffn_sharing}; choose a divisor')
    if self.ffn_rank is not None and self.ffn_sharing > 1:
      mistakes.append(
          f'ffn_rank {self.ffn_rank} and ffn_sharing {self.ffn_sharing} exclude '
          'each other; drop one')
    if (self.sequence_length or 1) > self.max_positions:
      mistakes.append(
          f'sequence_length {self.sequence_length} exceeds max_positions '
          f'{self.max_positions}; shorten the sequences or add positions')
    if self.norm_source_size is not None and (
        self.norm_source_size >= self.hidden_size):
      mistakes.append(
          f'norm_source_size {self.norm_source_size} is not below hidden_size '
          f'{self.hidden_size}; give the width that the model grew from')
    epsilon = self.norm_epsilon
    if epsilon is not None and not (
        isinstance(epsilon, float) and 0 < epsilon < 1):
      mistakes.append(
          f'norm_epsilon is {epsilon!r}; give a number between 0 and 1')
    mistakes += self._family_mistakes()
    return mistakes

  def _family_mistakes(self) -> list[str]:
    types = self.type_vocab_size
    is_count = isinstance(types, int) and not isinstance(types, bool)
    if self.family == 'bert':
      if types is None or is_count and types >= 1:
        return []
      return [f'type_vocab_size is {types!r}; give a whole number of at least 1']
    mistakes = []
    if types is not None and not (is_count and types == 0):
      mistakes.append(
          f'type_vocab_size is {types!r}, but a GPT has no segments; leave it '
          'out')
    if self.query_pool_size > 1:
      mistakes.append(
          f'query_pool_size is {self.query_pool_size}, but a GPT predicts every '
          'token, so none can be pooled; give 1')
    return mistakes

  @property
  def stored_inner_size(self) -> int:
    """Feed-forward units whose weights exist."""
    return self.inner_size // self.ffn_sharing

  @property
  def is_treated(self) -> bool:
    """Whether there is a treatment; a short `sequence_length` alone is none."""
    return (self.query_pool_size > 1 or self.ffn_sharing > 1
            or self.ffn_rank is not None or self.norm_source_size is not None)

  def untreated(self) -> 'Architecture':
    """The same model without any treatment, at full sequence length."""
    return self.replace(
        query_pool_size=1, ffn_sharing=1, ffn_rank=None, norm_source_size=None,
        sequence_length=None)

  def replace(self, **changes: Any) -> 'Architecture':
    """A copy with changes.

    `head_size` and `sequence_length` that equal their defaults follow the
    fields they come from, unless they are given; other values are kept.
    """
    if (changes.keys() & {'hidden_size', 'num_heads'}
        and self.head_size * self.num_heads == self.hidden_size):
      changes.setdefault('head_size', None)
    if 'max_positions' in changes and (
        self.sequence_length == self.max_positions):
      changes.setdefault('sequence_length', None)
    return dataclasses.replace(self, **changes)

  def pooled_slots(self, num_predictions: int) -> int:
    """Query slots for the pooled, unmasked tokens of one sequence."""
    return pooled_length.pooled_slots(
        self.sequence_length, num_predictions, self.query_pool_size)

  def query_length(self, num_predictions: int) -> int:
    """Tokens a sequence after layer 0.

    Args:
      num_predictions: masked tokens a sequence has room for.

    Returns:
      The whole sequence if queries are not pooled; otherwise [CLS], the pooled
      slots and one row per prediction: 296 for 512 tokens, 76 predictions and
      a pool of 2, where the paper has 295.
    """
    if self.query_pool_size == 1:
      return self.sequence_length
    return 1 + self.pooled_slots(num_predictions) + num_predictions
