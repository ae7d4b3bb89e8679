"""What the served modules of fine-tuned models have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from official_ext.downstream.finetuned_model import FinetunedModel
from official_ext.export import row_encoders
from official_ext.export.served_tokenizer import PortableTokenizer
from official_ext.export.served_tokenizer import served_tokenizer
from official_ext.modeling import weights

# Of the signature `token_ids`: int32 [batch, length].
TOKEN_SPECS = tuple(
    tf.TensorSpec([None, None], tf.int32, name=name)
    for name in ('input_word_ids', 'input_mask', 'input_type_ids'))


class ServedEncoder(NamedTuple):
  """From strings to the outputs of the encoder.

  Attributes:
    tokenizer: strings to ids.
    portable: ids to characters.
    rows: see `row_encoders.row_encoder`.
    lengths: to which rows are filled up.
  """

  tokenizer: Callable[[tf.Tensor], tf.RaggedTensor]
  portable: PortableTokenizer
  rows: Callable[..., tf.Tensor]
  lengths: tuple[int, ...]


class FinetunedServingModule(tf.Module):
  """A fine-tuned model as functions of tensors.

  Attributes:
    variables_by_name: the encoder's weights under their canonical names.
    other_variables: the head's, and what is not trained.
    functions: the signatures by their names.
  """

  # A mapping that is no dict, of which all functions would be saved, wanted or
  # not.
  functions: Mapping[str, Callable]

  def __init__(self, finetuned: FinetunedModel):
    super().__init__(name='finetuned_bert')
    self.variables_by_name = weights.encoder_variables(
        finetuned.model.checkpoint_items['encoder'])
    named = {id(variable) for variable in self.variables_by_name.values()}
    self.other_variables = [
        variable for variable in finetuned.model.variables
        if id(variable) not in named]

  def signatures(self, names: Sequence[str]) -> dict[str, Callable]:
    """The functions to save, by the name they are served under."""
    return {name: self.functions[name] for name in names}

  def _serve_encoder(self, finetuned: FinetunedModel, vocabulary_file: str,
                     padding: str | None) -> ServedEncoder:
    """Makes the vocabulary an asset of this module."""
    tokenizer, portable = served_tokenizer(
        vocabulary_file, lower_case=finetuned.task.lower_case)
    self._ids = portable.table
    return ServedEncoder(
        tokenizer, portable,
        row_encoders.row_encoder(
            finetuned.model.checkpoint_items['encoder'],
            finetuned.architecture, padding),
        row_encoders.buckets(finetuned.task.seq_length))
