"""What is served of a pre-trained BERT: signatures over its variables.

The module holds variables, lookup tables and traced functions, but no Keras
object, so that whatever loads it needs tensorflow and tensorflow_text only.
"""

from collections.abc import Callable, Sequence
import types

from official.nlp.modeling import models
import tensorflow as tf

from official_ext.export import masked_text
from official_ext.export import row_encoders
from official_ext.export import TOP_K
from official_ext.export.piece_table import piece_table
from official_ext.export.served_tokenizer import served_tokenizer
from official_ext.growth.architecture import Architecture
from official_ext.modeling import weights

_Outputs = dict[str, tf.Tensor]
_IDS = ('input_word_ids', 'input_mask', 'input_type_ids')


class ServingModule(tf.Module):
  """A BERT pretrainer as functions of tensors.

  Args:
    model: a built `BertPretrainerV2`, stock or growing.
    architecture: of the model, its queries not pooled.
    vocabulary_file: its pieces, one a line; becomes an asset.
    lower_case: whether its tokenizer lower-cases.
    max_masks: masks of one string that are filled; None for a model without a
      masked-language-model head, whose `serving_default` is `embed`.
    top_k: fillings a mask.
    padding: see `row_encoder`.

  Attributes:
    variables_by_name: the weights under their canonical names.
    functions: the signatures by their names.
  """

  def __init__(self, model: models.BertPretrainerV2,
               architecture: Architecture, vocabulary_file: str, *,
               lower_case: bool, max_masks: int | None, top_k: int = TOP_K,
               padding: str | None = None):
    super().__init__(name='pretrained_bert')
    self.variables_by_name = {
        name: variable for name, variable in
        weights.named_variables(model).items()
        if max_masks is not None or not name.startswith('masked_lm/')}
    # What is not trained: how far weighted LayerNorms have come.
    self.other_variables = list(model.non_trainable_variables)
    tokenizer, portable = served_tokenizer(
        vocabulary_file, lower_case=lower_case)
    self._ids = portable.table
    length = architecture.sequence_length

    def encode(text):
      return masked_text.encode(
          text, tokenizer, length=length, max_masks=max_masks or 0)

    rows = row_encoders.row_encoder(
        model.encoder_network, architecture, padding)
    lengths = row_encoders.buckets(length)
    # Model and tokenizer stay in these closures: as attributes they would be
    # saved, and with them the need for Keras.
    embed = _embed(model, encode, rows, lengths)
    functions = {'serving_default': embed, 'embed': embed,
                 'embed_token_ids': _embed_token_ids(model)}
    if max_masks is not None:
      self._pieces = piece_table(vocabulary_file)
      functions |= {
          'serving_default': _fill_masks(
              model, encode, rows, lengths, self._pieces, max_masks, top_k),
          'token_ids': _token_ids(model)}
    # Not a dict, of which all functions would be saved, wanted or not.
    self.functions = types.MappingProxyType(functions)

  def signatures(self, names: Sequence[str]) -> dict[str, Callable]:
    """The functions to save, by the name they are served under."""
    return {name: self.functions[name] for name in names}


def _strings(name: str) -> tf.TensorSpec:
  return tf.TensorSpec([None], tf.string, name=name)


def _fill_masks(model, encode, rows, lengths, pieces, max_masks, top_k):
  @tf.function(input_signature=[_strings('text')])
  def fill_masks(text: tf.Tensor) -> _Outputs:
    """Fills each "[MASK]" of each string.

    Args:
      text: string [batch].

    Returns:
      tokens: string [batch, max_masks, top_k], pieces of the vocabulary, best
        first; '' beyond `num_masks`.
      probabilities: float32, alike; 0 beyond `num_masks`.
      num_masks: int32 [batch], masks that were filled.
      num_masks_left_out: int32 [batch], masks beyond `max_masks` or beyond the
        length that a string is cut to.
    """
    encoded = encode(text)
    sequence = rows(encoded.words, encoded.types,
                    row_encoders.bucket_of(encoded.words, lengths))
    masks = encoded.mask_positions
    at_masks = tf.gather_nd(
        sequence, tf.stack([masks.value_rowids(), masks.values], axis=1))
    # One row more, which is dropped: the head cannot reshape none.
    at_masks = tf.pad(at_masks, [[0, 1], [0, 0]])
    logits = model.masked_lm(
        at_masks[tf.newaxis],
        tf.range(tf.shape(at_masks)[0])[tf.newaxis])[0, :-1]
    best, ids = tf.math.top_k(tf.nn.softmax(logits), top_k)

    def of_rows(values):
      return masks.with_values(values).to_tensor(
          shape=[None, max_masks, top_k])
    return {
        'tokens': of_rows(pieces.lookup(tf.cast(ids, tf.int64))),
        'probabilities': of_rows(best),
        'num_masks': tf.cast(masks.row_lengths(), tf.int32),
        'num_masks_left_out': encoded.num_masks_left_out,
    }
  return fill_masks


def _token_ids(model):
  names = (*_IDS, 'masked_lm_positions')

  @tf.function(input_signature=[
      tf.TensorSpec([None, None], tf.int32, name=name) for name in names])
  def token_ids(input_word_ids: tf.Tensor, input_mask: tf.Tensor,
                input_type_ids: tf.Tensor, masked_lm_positions: tf.Tensor
                ) -> _Outputs:
    """Masked-language-model logits of tokens.

    Args:
      input_word_ids: int32 [batch, length], any length up to the positions
        that the model has.
      input_mask: alike, 1 where there is a token.
      input_type_ids: alike, the segment, 0 or 1.
      masked_lm_positions: int32 [batch, predictions].

    Returns:
      mlm_logits: float32 [batch, predictions, vocabulary].
    """
    outputs = model({'input_word_ids': input_word_ids,
                     'input_mask': input_mask,
                     'input_type_ids': input_type_ids,
                     'masked_lm_positions': masked_lm_positions},
                    training=False)
    return {'mlm_logits': outputs['mlm_logits']}
  return token_ids


def _embed(model, encode, rows, lengths):
  @tf.function(input_signature=[_strings('text')])
  def embed(text: tf.Tensor) -> _Outputs:
    """Vectors of each string and of each of its tokens.

    The encoder's own pooler takes no part in pre-training. What does is the
    first layer of the next-sentence head, so `pooled_output` is that layer's;
    of a model without that head it is the mean over the tokens.

    Args:
      text: string [batch].

    Returns:
      pooled_output: float32 [batch, hidden].
      sequence_output: float32 [batch, length, hidden], 0 where there is no
        token. The length is the shortest bucket that holds all strings.
      input_mask: int32 [batch, length], 1 where there is a token.
    """
    encoded = encode(text)
    length = row_encoders.bucket_of(encoded.words, lengths)
    sequence = rows(encoded.words, encoded.types, length)
    mask = tf.sequence_mask(encoded.words.row_lengths(), length, tf.int32)
    return {'pooled_output': _pooled(model, sequence, mask),
            'sequence_output': sequence, 'input_mask': mask}
  return embed


def _embed_token_ids(model):
  @tf.function(input_signature=[
      tf.TensorSpec([None, None], tf.int32, name=name) for name in _IDS])
  def embed_token_ids(input_word_ids: tf.Tensor, input_mask: tf.Tensor,
                      input_type_ids: tf.Tensor) -> _Outputs:
    """Vectors of tokens, as `embed` gives them of strings.

    Args:
      input_word_ids: int32 [batch, length], any length up to the positions
        that the model has.
      input_mask: alike, 1 where there is a token.
      input_type_ids: alike, the segment, 0 or 1.

    Returns:
      pooled_output: float32 [batch, hidden].
      sequence_output: float32 [batch, length, hidden], whatever it happens to
        be where there is no token.
    """
    sequence = model.encoder_network(
        {'input_word_ids': input_word_ids, 'input_mask': input_mask,
         'input_type_ids': input_type_ids}, training=False)['sequence_output']
    return {'pooled_output': _pooled(model, sequence, input_mask),
            'sequence_output': sequence}
  return embed_token_ids


def _pooled(model, sequence, mask) -> tf.Tensor:
  """[batch, hidden] of [batch, length, hidden]."""
  if model.classification_heads:
    return model.classification_heads[0](sequence, only_project=True)
  weight = tf.cast(mask, sequence.dtype)[..., tf.newaxis]
  return (tf.reduce_sum(weight * sequence, axis=1)
          / tf.reduce_sum(weight, axis=1))
