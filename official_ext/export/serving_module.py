"""What is served of a BERT: three signatures over its variables.

The module holds variables, one lookup table and traced functions, but no Keras
object, so that whatever loads it needs tensorflow and tensorflow_text only.
"""

from collections.abc import Callable, Sequence

from official.nlp.modeling import models
import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer
from official_ext.export import masked_text
from official_ext.export import TOP_K
from official_ext.export.piece_table import piece_table
from official_ext.modeling import weights

_Outputs = dict[str, tf.Tensor]


class ServingModule(tf.Module):
  """A BERT pretrainer as functions of tensors.

  Args:
    model: a built `BertPretrainerV2`, stock or growing and untreated.
    tokenizer: the one that made the training data.
    vocabulary_file: its pieces, one a line; becomes an asset.
    sequence_length: tokens that a string is cut or padded to.
    max_masks: masks of one string that are filled.
    top_k: fillings a mask.

  Attributes:
    variables_by_name: the weights under their canonical names.
    fill_masks: signature `serving_default`.
    token_ids: signature `token_ids`.
    embed: signature `embed`.
  """

  def __init__(self, model: models.BertPretrainerV2, tokenizer: Tokenizer,
               vocabulary_file: str, *, sequence_length: int, max_masks: int,
               top_k: int = TOP_K):
    super().__init__(name='pretrained_bert')
    self.variables_by_name = weights.named_variables(model)
    self._pieces = piece_table(vocabulary_file)

    def encode(text):
      return masked_text.encode(
          text, tokenizer, length=sequence_length, max_masks=max_masks)

    # Model and tokenizer stay in these closures: as attributes they would be
    # saved, and with them the need for Keras.
    self.fill_masks = _fill_masks(model, encode, self._pieces, top_k)
    self.token_ids = _token_ids(model)
    self.embed = _embed(model, encode)

  def signatures(self, names: Sequence[str]) -> dict[str, Callable]:
    """The functions to save, by the name they are served under."""
    functions = {'serving_default': self.fill_masks,
                 'token_ids': self.token_ids, 'embed': self.embed}
    return {name: functions[name] for name in names}


def _strings(name: str) -> tf.TensorSpec:
  return tf.TensorSpec([None], tf.string, name=name)


def _fill_masks(model, encode, pieces, top_k):
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
    logits = _call(
        model, encoded.word_ids, encoded.mask, encoded.type_ids,
        encoded.mask_positions)['mlm_logits']
    best, ids = tf.math.top_k(tf.nn.softmax(logits), top_k)
    is_filled = tf.sequence_mask(
        encoded.num_masks, encoded.mask_positions.shape[1])[..., tf.newaxis]
    return {
        'tokens': tf.where(is_filled, pieces.lookup(tf.cast(ids, tf.int64)), ''),
        'probabilities': tf.where(is_filled, best, 0.0),
        'num_masks': encoded.num_masks,
        'num_masks_left_out': encoded.num_masks_left_out,
    }
  return fill_masks


def _token_ids(model):
  names = ('input_word_ids', 'input_mask', 'input_type_ids',
           'masked_lm_positions')

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
    outputs = _call(model, input_word_ids, input_mask, input_type_ids,
                    masked_lm_positions)
    return {'mlm_logits': outputs['mlm_logits']}
  return token_ids


def _embed(model, encode):
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
      sequence_output: float32 [batch, length, hidden].
      input_mask: int32 [batch, length], 1 where there is a token.
    """
    encoded = encode(text)
    sequence = _call(model, encoded.word_ids, encoded.mask, encoded.type_ids,
                     encoded.mask_positions)['sequence_output']
    if model.classification_heads:
      pooled = model.classification_heads[0](sequence, only_project=True)
    else:
      weight = tf.cast(encoded.mask, sequence.dtype)[..., tf.newaxis]
      pooled = (tf.reduce_sum(weight * sequence, axis=1)
                / tf.reduce_sum(weight, axis=1))
    return {'pooled_output': pooled, 'sequence_output': sequence,
            'input_mask': encoded.mask}
  return embed


def _call(model, word_ids, mask, type_ids, mask_positions) -> _Outputs:
  return model({'input_word_ids': word_ids, 'input_mask': mask,
                'input_type_ids': type_ids,
                'masked_lm_positions': mask_positions}, training=False)
