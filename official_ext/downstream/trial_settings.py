"""What one trial of a sweep is."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSettings:
  """A trial, apart from its task and its data.

  Attributes:
    batch_size: examples a step, over all replicas.
    learning_rate: its peak, after the warm-up; it falls linearly to zero.
    seed: of the head's weights, the dropout and the order of the examples.
    num_epochs: passes over the training examples.
    warmup_fraction: share of the steps in which the learning rate rises.
    weight_decay_rate: decoupled weight decay, without LayerNorms and biases.
    gradient_clip_norm: greatest global norm of the gradients; 0 does not clip.
    output_dropout: dropout rate of the blocks' outputs and of the head.
    attention_dropout: dropout rate of the attention probabilities.
  """

  batch_size: int
  learning_rate: float
  seed: int
  num_epochs: float = 3.0
  warmup_fraction: float = 0.1
  weight_decay_rate: float = 0.01
  gradient_clip_norm: float = 1.0
  output_dropout: float = 0.1
  attention_dropout: float = 0.1

  @property
  def name(self) -> str:
    """What tells the trials of a sweep apart."""
    rate = repr(float(self.learning_rate))
    return f'batch{self.batch_size}_rate{rate}_seed{self.seed}'

  def num_steps(self, num_examples: int) -> int:
    """Optimizer steps of the trial."""
    return max(1, int(num_examples * self.num_epochs / self.batch_size))
