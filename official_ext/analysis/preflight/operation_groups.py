"""Which part of a training step an operation belongs to, by its name."""

from collections.abc import Iterable
import re

from official_ext.analysis.preflight.optimized_hlo import OperationCycles

OTHER = 'other'
RANDOM_NUMBERS = 'random numbers'
# The first that matches. TensorFlow prefixes a gradient's name only.
_GROUPS = (
    ('optimizer', r'^(\w*AdamWeightDecay|LAMB|global_norm|clip_by_global_norm)'),
    # Drawing dropout's masks; applying them is elementwise.
    (RANDOM_NUMBERS,
     r'/(\w*dropout\w*|self_attention)/'
     r'(XlaRngBitGenerator|GreaterEqual|strided_slice)\b|'
     # Stock layers draw floats.
     r'/dropout/GreaterEqual|\brandom_uniform\b'),
    ('LayerNorm, elementwise',
     r'layer_norm|LayerNorm|dropout|/transformer/layer_\d+/(Cast|add)'),
    ('attention', r'/self_attention/|_attention'),
    ('FFN', r'/layer_\d+/(intermediate|output|factorized\w*|inner\w*)\b|'
            r'/layer_\d+/\w*activation'),
    # With the metrics over its outputs.
    ('head', r'/cls/|next_sentence|SoftmaxCrossEntropy|logits|pooler|ArgMax'),
    ('embedding', r'embedding|growing_bert_encoder/|growing_gpt_decoder/'),
)
_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in _GROUPS)
# In the order of a step.
GROUPS = ('embedding', 'attention', 'FFN', 'LayerNorm, elementwise', 'head',
          'optimizer', RANDOM_NUMBERS, OTHER)


def group_of(operation: str) -> str:
  """The group of an operation's name; `OTHER` if none matches."""
  for name, pattern in _PATTERNS:
    if pattern.search(operation):
      return name
  return OTHER


def group_cycles(costs: Iterable[OperationCycles]) -> dict[str, int]:
  """Cycles of each group, all of `GROUPS`."""
  totals = dict.fromkeys(GROUPS, 0)
  for cost in costs:
    totals[group_of(cost.operation)] += cost.cycles
  return totals
