"""What is served of a GPT: three signatures over its variables.

As for BERT, the module holds variables, lookup tables and traced functions,
but no Keras object.
"""

from collections.abc import Callable, Sequence
import types

import tensorflow as tf

from official_ext.export import generation
from official_ext.export import prompt_text
from official_ext.export import TOP_K
from official_ext.export.piece_table import piece_table
from official_ext.export.served_tokenizer import served_tokenizer
from official_ext.modeling import weights
from official_ext.modeling.gpt_pretrainer import GrowingGptPretrainer

_Outputs = dict[str, tf.Tensor]


class GptServingModule(tf.Module):
  """A GPT pretrainer as functions of tensors.

  Args:
    model: a built pretrainer.
    vocabulary_file: its pieces, one a line; becomes an asset.
    lower_case: whether its tokenizer lower-cases.
    sequence_length: tokens of a prompt and its continuation, together.
    top_k: next tokens that `next_token` offers.

  Attributes:
    variables_by_name: the weights under their canonical names.
    functions: the signatures by their names.
  """

  def __init__(self, model: GrowingGptPretrainer, vocabulary_file: str, *,
               lower_case: bool, sequence_length: int, top_k: int = TOP_K):
    super().__init__(name='pretrained_gpt')
    self.variables_by_name = weights.named_variables(model)
    self._pieces = piece_table(vocabulary_file)
    tokenizer, portable = served_tokenizer(
        vocabulary_file, lower_case=lower_case)
    self._ids = portable.table

    # Model and tokenizer stay in these closures: as attributes they would be
    # saved, and with them the need for Keras. Not a dict, of which all functions
    # would be saved, wanted or not.
    self.functions = types.MappingProxyType({
        'next_token_logits': _next_token_logits(model),
        'next_token': _next_token(
            model, tokenizer, self._pieces, sequence_length, top_k),
        'generate': _generate(
            model, tokenizer, self._pieces, sequence_length)})

  def signatures(self, names: Sequence[str]) -> dict[str, Callable]:
    """The functions to save, by the name they are served under."""
    return {name: self.functions[name] for name in names}


def _next_token_logits(model):
  @tf.function(input_signature=[
      tf.TensorSpec([None, None], tf.int32, name=name)
      for name in ('input_word_ids', 'input_mask')])
  def next_token_logits(input_word_ids: tf.Tensor, input_mask: tf.Tensor
                        ) -> _Outputs:
    """Logits of what follows the last token of each row.

    Args:
      input_word_ids: int32 [batch, length], padded on the right; any length up
        to the positions that the model has.
      input_mask: alike, 1 where there is a token, at least one a row.

    Returns:
      logits: float32 [batch, vocabulary].
    """
    return {'logits': _last_logits(model, input_word_ids, input_mask)}
  return next_token_logits


def _next_token(model, tokenizer, pieces, length, top_k):
  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='text')])
  def next_token(text: tf.Tensor) -> _Outputs:
    """The likeliest pieces to follow each string.

    Args:
      text: string [batch].

    Returns:
      tokens: string [batch, top_k], pieces of the vocabulary, best first.
      probabilities: float32, alike.
      num_tokens_left_out: int32 [batch], tokens at the start of a long string
        that were not read.
    """
    prompts = prompt_text.encode_prompts(
        text, tokenizer, length=length, most_tokens=length)
    best, ids = tf.math.top_k(tf.nn.softmax(
        _last_logits(model, prompts.word_ids, prompts.mask)), top_k)
    return {'tokens': pieces.lookup(tf.cast(ids, tf.int64)),
            'probabilities': best,
            'num_tokens_left_out': prompts.num_tokens_left_out}
  return next_token


def _generate(model, tokenizer, pieces, length):
  @tf.function(input_signature=[
      tf.TensorSpec([None], tf.string, name='text'),
      tf.TensorSpec([], tf.int32, name='max_new_tokens'),
      tf.TensorSpec([], tf.float32, name='temperature'),
      tf.TensorSpec([], tf.int32, name='top_k'),
      tf.TensorSpec([], tf.float32, name='top_p'),
      tf.TensorSpec([], tf.string, name='stop_token')])
  def generate(text: tf.Tensor, max_new_tokens: tf.Tensor,
               temperature: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor,
               stop_token: tf.Tensor) -> _Outputs:
    """Continues each string.

    Args:
      text: string [batch].
      max_new_tokens: int32, 1 to one less than a sequence has tokens; brought
        into that range.
      temperature: float32; 0 always takes the likeliest piece.
      top_k: int32, draws from so many of the likeliest pieces; 0 from all.
      top_p: float32, draws from the likeliest pieces that together are at least
        so probable; 1 from all.
      stop_token: string, a piece of the vocabulary that ends a text beside
        [SEP], the end of a document; '' for none.

    Returns:
      text: string [batch], each string with what follows it.
      continuation: string [batch], what follows it alone.
      num_new_tokens: int32 [batch], without the one that ended the text.
      is_finished: bool [batch], whether one did.
      log_probability: float32 [batch], see `generation.Generated`.
      num_tokens_left_out: int32 [batch], tokens at the start of a long string
        that were not read.

    Raises:
      InvalidArgumentError: the stop token is no piece.
    """
    max_new_tokens = tf.clip_by_value(max_new_tokens, 1, length - 1)
    prompts = prompt_text.encode_prompts(
        text, tokenizer, length=length, most_tokens=length - max_new_tokens)
    generated = generation.generate(
        model.decoder, tokenizer, prompts, generation.SamplingOptions(
            max_new_tokens=max_new_tokens, temperature=temperature,
            top_k=top_k, top_p=top_p,
            stop_id=_stop_id(stop_token, tokenizer, pieces)))
    tokens = generated.tokens
    continuation = prompt_text.join_pieces(tokens.with_values(
        pieces.lookup(tf.cast(tokens.values, tf.int64))))
    return {'text': tf.strings.join([text, continuation]),
            'continuation': continuation,
            'num_new_tokens': tf.cast(tokens.row_lengths(), tf.int32),
            'is_finished': generated.is_finished,
            'log_probability': generated.log_probability,
            'num_tokens_left_out': prompts.num_tokens_left_out}
  return generate


def _stop_id(stop_token, tokenizer, pieces) -> tf.Tensor:
  """The id of a piece; the padding's, which is never drawn, for ''."""
  all_pieces = pieces.lookup(
      tf.range(len(tokenizer.vocabulary), dtype=tf.int64))
  is_it = tf.equal(all_pieces, stop_token)
  is_none = tf.equal(stop_token, '')
  tf.debugging.Assert(
      is_none | tf.reduce_any(is_it),
      ['stop_token is no piece of the vocabulary:', stop_token,
       'give a line of vocab.txt, or an empty string for none.'])
  return tf.where(
      is_none, tokenizer.pad_id,
      tf.argmax(tf.cast(is_it, tf.int32), output_type=tf.int32))


def _last_logits(model, word_ids, mask) -> tf.Tensor:
  """Logits [batch, vocab] after the last token of each row."""
  hidden = model.decoder(
      {'input_word_ids': word_ids, 'input_mask': mask},
      training=False)['sequence_output']
  last = tf.reduce_sum(mask, axis=1) - 1
  return model.decoder.logits(tf.gather(hidden, last, axis=1, batch_dims=1))
