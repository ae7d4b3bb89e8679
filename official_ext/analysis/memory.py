"""What a training step keeps in a device's memory, estimated from shapes.

The activations are those that the backward pass reads, counted as in
Korthikanti et al., *Reducing Activation Recomputation in Large Transformer
Models* (2022), section 4.1, without recomputation, and with the width of the
values as a parameter. A compiler fuses some away and adds buffers of its own.
"""

import dataclasses

from official_ext.analysis import flops
from official_ext.growth.architecture import Architecture

_FLOAT32_BYTES = 4
_MOMENTS = 2
# Dropout keeps a byte for each value.
_MASK_BYTES = 1


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
  """Bytes on one device.

  Attributes:
    weights: float32 variables.
    moments: of Adam or LAMB, float32.
    gradients: float32.
    activations: of the blocks, kept for the backward pass.
    logits: over the vocabulary, float32, with their gradient.
    accumulated_gradients: sums over micro-batches, float32; 0 without these.
  """

  weights: int
  moments: int
  gradients: int
  activations: int
  logits: int
  accumulated_gradients: int = 0

  @property
  def total(self) -> int:
    return sum(dataclasses.astuple(self))


def estimate_memory(stage, num_predictions: int, sequences: int, *,
                    gradient_accumulation_steps: int = 1,
                    has_next_sentence: bool = True,
                    value_bytes: int = 4) -> MemoryEstimate:
  """Memory of a stage's training step on one device.

  Args:
    stage: a `ResolvedStage`. Frozen blocks keep no activations; where
      sub-models are drawn, as many blocks as are trained at once do.
    num_predictions: masked tokens a sequence has room for.
    sequences: sequences a device.
    gradient_accumulation_steps: micro-batches that these are split into, one of
      which is in memory at a time.
    has_next_sentence: whether the next-sentence head is there.
    value_bytes: of an activation, 4 in float32 and 2 in bfloat16.
  """
  architecture = stage.architecture
  parameters = flops.parameter_count(
      architecture, has_next_sentence=has_next_sentence)
  weights = _FLOAT32_BYTES * parameters
  sequences //= gradient_accumulation_steps
  trained = (stage.trained_layers or stage.sub_model_layers
             or architecture.num_layers)
  rows = architecture.query_length(num_predictions)
  is_first_trained = trained == architecture.num_layers
  keys = [architecture.sequence_length if is_first_trained and not layer
          else rows for layer in range(trained)]
  activations = sequences * sum(
      _block_bytes(architecture, rows, count, value_bytes) for count in keys)
  predicted = (architecture.sequence_length if architecture.family == 'gpt'
               else num_predictions)
  logits = 2 * _FLOAT32_BYTES * sequences * predicted * architecture.vocab_size
  return MemoryEstimate(
      weights, _MOMENTS * weights, weights, activations, logits,
      weights if gradient_accumulation_steps > 1 else 0)


def _block_bytes(architecture: Architecture, rows: int, keys: int,
                 value_bytes: int) -> int:
  """What one block keeps of one sequence."""
  width, heads = architecture.hidden_size, architecture.num_heads
  # Input, query and context; key and value.
  values = 3 * rows * width + 2 * keys * width
  # Scores, and probabilities after dropout.
  values += 2 * heads * rows * keys
  masks = rows * width + heads * rows * keys
  # Input of the feed-forward block; before and after its activation.
  values += rows * width + 2 * rows * architecture.stored_inner_size
  masks += rows * width
  # Both LayerNorms' inputs.
  values += 2 * rows * width
  return value_bytes * values + _MASK_BYTES * masks
