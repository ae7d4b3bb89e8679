"""Which part of a model a step runs and updates."""

from collections.abc import Iterable
import dataclasses

import tensorflow as tf

from official_ext.growth.named_weights import layer_of

# Read before the first block only; the word embedding is the decoder too.
_INPUT_SIDE = ('embeddings/position', 'embeddings/type', 'embeddings/norm/')


@dataclasses.dataclass(frozen=True)
class TrainedPart:
  """What is trained; without arguments the whole model.

  Attributes:
    trained_layers: only so many blocks from the top, and the heads, are updated
      (MSLT, Yang et al., 2020); None means all, and the embeddings.
    sub_model_layers: every step draws one of the depths b, 2b, ..., L, runs so
      many blocks from the bottom and the heads, and updates the b uppermost of
      those and the heads (bert2BERT, two-stage pre-training, first stage).
      Where b does not divide L, L is the last depth. None means no sub-models.
  """

  trained_layers: int | None = None
  sub_model_layers: int | None = None

  def check(self, num_layers: int) -> None:
    """Raises ValueError if a model of so many blocks has no such part."""
    if self.trained_layers is not None and self.sub_model_layers is not None:
      raise ValueError(
          f'set_trained_part: trained_layers {self.trained_layers} and '
          f'sub_model_layers {self.sub_model_layers} exclude each other; drop '
          'one.')
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value is not None and (
          isinstance(value, bool) or not isinstance(value, int)
          or not 1 <= value <= num_layers):
        raise ValueError(
            f'set_trained_part: {field.name} is {value!r}; give a whole number '
            f"from 1 to the model's {num_layers} blocks.")

  def depths(self, num_layers: int) -> tuple[int, ...]:
    """The depths that are drawn from, in a model of so many blocks."""
    step = self.sub_model_layers or num_layers
    return (*range(step, num_layers, step), num_layers)


def drawn_index(seed: int, step: tf.Tensor, num_choices: int) -> tf.Tensor:
  """A uniform draw `[]` int32 that depends on nothing but seed and step."""
  # One algorithm by name: left to TensorFlow, it would differ by device.
  return tf.random.stateless_uniform(
      [], tf.stack([tf.cast(seed, tf.int64), tf.cast(step, tf.int64)]),
      minval=0, maxval=num_choices, dtype=tf.int32, alg='philox')


def updated_names(
    names: Iterable[str], num_layers: int, trained_layers: int) -> list[str]:
  """Which weights are updated where the gradient stops below some blocks.

  Args:
    names: canonical names of all weights.
    num_layers: blocks that are run.
    trained_layers: blocks that are updated, the uppermost of those.

  Returns:
    The names of these blocks and of everything after them. The word embedding
    is among these: it is the tied decoder, and has a gradient from there only.
  """
  def is_updated(name):
    layer = layer_of(name)
    if layer is None:
      return not name.startswith(_INPUT_SIDE)
    return num_layers - trained_layers <= layer < num_layers

  return [name for name in names if is_updated(name)]
