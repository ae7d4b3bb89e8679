"""New tokens after a prompt: Model Garden's sampling loop over a GPT's steps."""

from typing import NamedTuple

from official.nlp.modeling.ops import sampling_module
import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer
from official_ext.export.prompt_text import Prompts
from official_ext.modeling.gpt_decoder import GrowingGptDecoder

# Finite, since the loop adds it up; its exponential is exactly 0.
_NEVER = -1e9
# Greater than any index.
_NO_ID = 2**31 - 1


class SamplingOptions(NamedTuple):
  """How tokens are chosen; scalar tensors.

  Attributes:
    max_new_tokens: int32, at least 1.
    temperature: float32 divisor of the logits; 0 always takes the best token.
    top_k: int32, draws from so many of the best tokens; 0 from all.
    top_p: float32, draws from the best tokens that together are at least so
      probable; 1 from all.
    stop_id: int32, a token that ends a text, beside [SEP]; the padding's for
      none.
  """

  max_new_tokens: tf.Tensor
  temperature: tf.Tensor
  top_k: tf.Tensor
  top_p: tf.Tensor
  stop_id: tf.Tensor


class Generated(NamedTuple):
  """What follows the prompts.

  Attributes:
    tokens: int32 [batch, (tokens)], without the one that ended the text.
    is_finished: bool [batch], whether one did.
    log_probability: float32 [batch], of the new tokens and the one that ended
      the text, under the model as it is, whatever temperature, k and p were.
  """

  tokens: tf.RaggedTensor
  is_finished: tf.Tensor
  log_probability: tf.Tensor


def generate(decoder: GrowingGptDecoder, tokenizer: Tokenizer,
             prompts: Prompts, options: SamplingOptions) -> Generated:
  """Continues prompts with Model Garden's `SamplingModule`.

  The module knows no prompts: it draws from the first token on. So the rows all
  start with [CLS], and where the prompt goes on, its token is the only one that
  can be drawn, at a log probability of 0. Likewise padding, which ends a row for
  the module, once a text has ended or has all its new tokens. Rows of different
  lengths thus step together, at the cost of reading a prompt token by token.

  [PAD], [UNK], [CLS] and [MASK] are never drawn.

  Args:
    decoder: a built one.
    tokenizer: the one of the prompts.
    prompts: `num_tokens + max_new_tokens` may not exceed their length.
    options: how tokens are chosen.
  """
  length = prompts.word_ids.shape[1]
  batch = tf.shape(prompts.word_ids)[0]
  vocab_size = len(tokenizer.vocabulary)
  barred = _barred(tokenizer)
  ends = prompts.num_tokens + options.max_new_tokens

  def is_end(ids):
    return tf.equal(ids, tokenizer.sep_id) | tf.equal(ids, options.stop_id)

  def step(ids, index, cache):
    # The loop forgets all shapes but the last.
    cache = {name: tf.ensure_shape(value, [None, length, value.shape[-1]])
             for name, value in cache.items()}
    hidden, cache = decoder.step(ids[:, -1], index, cache)
    logits = tf.cast(decoder.logits(hidden), tf.float32) + barred
    position = index + 1
    is_over = (position >= ends) | (
        (index >= prompts.num_tokens) & is_end(ids[:, -1]))
    forced = tf.where(
        position < prompts.num_tokens,
        tf.gather(prompts.word_ids, tf.minimum(position, length - 1), axis=1),
        tf.where(is_over, tokenizer.pad_id, _NO_ID))
    alone = tf.one_hot(forced, vocab_size, on_value=0.0, off_value=_NEVER)
    return tf.where(
        tf.equal(forced, _NO_ID)[:, tf.newaxis], logits, alone), cache

  is_greedy = options.temperature <= 0
  module = sampling_module.SamplingModule(
      step, vocab_size,
      max_decode_length=tf.reduce_max(ends) - 1,
      eos_id=tokenizer.pad_id, padded_decode=False,
      top_k=tf.where(is_greedy, 1, options.top_k),
      top_p=options.top_p,
      sample_temperature=tf.where(is_greedy, 1.0, options.temperature),
      # Whether to be greedy is known only when the graph runs; the best one of
      # one token comes to the same.
      enable_greedy=False)
  sequences, scores = module.generate(
      prompts.word_ids[:, 0], decoder.empty_cache(batch, length))
  positions = tf.range(tf.shape(sequences)[1])
  is_new = ((positions >= prompts.num_tokens[:, tf.newaxis])
            & (positions < ends[:, tf.newaxis]))
  num_ends = tf.cumsum(tf.cast(is_new & is_end(sequences), tf.int32), axis=1)
  is_text = is_new & tf.equal(num_ends, 0)
  return Generated(
      tokens=tf.ragged.boolean_mask(sequences, is_text),
      is_finished=num_ends[:, -1] > 0,
      log_probability=scores[:, 0])


def _barred(tokenizer: Tokenizer) -> tf.Tensor:
  """What is added to the logits `[vocab]`, so that some are never drawn."""
  special = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id,
             tokenizer.mask_id]
  return tf.reduce_sum(tf.one_hot(
      special, len(tokenizer.vocabulary), on_value=_NEVER), axis=0)
