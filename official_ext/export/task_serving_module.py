"""What is served of a fine-tuned classifier or regression: two signatures."""

import types

import tensorflow as tf

from official_ext.data.tokenizer import Tokenizer
from official_ext.downstream import finetuned_model
from official_ext.downstream import text_features
from official_ext.export import row_encoders
from official_ext.export.finetuned_serving_module import FinetunedServingModule
from official_ext.export.finetuned_serving_module import TOKEN_SPECS

_Outputs = dict[str, tf.Tensor]


class TaskServingModule(FinetunedServingModule):
  """A fine-tuned `BertClassifier` as functions of tensors.

  Args:
    finetuned: of kind 'classification' or 'regression'.
    vocabulary_file: its pieces, one a line; becomes an asset.
    padding: see `row_encoder`.
  """

  def __init__(self, finetuned: finetuned_model.FinetunedModel,
               vocabulary_file: str, *, padding: str | None = None):
    super().__init__(finetuned)
    model, task = finetuned.model, finetuned.task
    tokenizer, _, rows, lengths = self._serve_encoder(
        finetuned, vocabulary_file, padding)

    def logits(texts, second_texts):
      """float32 [batch, outputs], and int32 [batch] tokens left out."""
      counting = _CountingTokenizer(tokenizer)
      words, types = text_features.pack_texts(
          counting, texts, second_texts, task.seq_length)
      sequence = rows(words, types, row_encoders.bucket_of(words, lengths))
      # [CLS], and a [SEP] after each text.
      wanted = 1 + sum(count + 1 for count in counting.num_tokens)
      return model.classifier(sequence), tf.cast(
          wanted - words.row_lengths(), tf.int32)

    def outputs(texts, second_texts=None):
      values, left_out = logits(texts, second_texts)
      return _answers(task, values) | {'num_tokens_left_out': left_out}

    self.functions = types.MappingProxyType({
        'serving_default': _of_texts(task, outputs),
        'token_ids': _token_ids(task, model)})


class _CountingTokenizer:
  """A tokenizer that remembers how long the texts were, before they are cut."""

  def __init__(self, tokenizer: Tokenizer):
    self._tokenizer = tokenizer
    self.cls_id, self.sep_id = tokenizer.cls_id, tokenizer.sep_id
    self.num_tokens = []

  def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
    tokens = self._tokenizer(texts)
    self.num_tokens.append(tokens.row_lengths())
    return tokens


_CLASSES_DOC = """
  label: string [batch], the likeliest.
  labels: string [batch, classes], the same in every row.
  probabilities: float32 [batch, classes]."""
_SCORE_DOC = """
  score: float32 [batch]."""
_TEXT_DOC = """{does} each {what}.

Args:
  text: string [batch].{second}

Returns:{returns}
  num_tokens_left_out: int32 [batch], of what was too long for the model."""
_IDS_DOC = """As serving_default, of tokens.

Args:
  input_word_ids: int32 [batch, length], any length up to the positions that the
    model has.
  input_mask: alike, 1 where there is a token.
  input_type_ids: alike, the segment, 0 or 1.

Returns:{returns}
  logits: float32 [batch, outputs]."""


def _answers(task, logits) -> _Outputs:
  if task.kind == finetuned_model.REGRESSION:
    return {'score': logits[:, 0]}
  labels = tf.constant(task.label_names)
  return {'label': tf.gather(labels, tf.argmax(logits, axis=1)),
          'labels': tf.tile(labels[tf.newaxis], [tf.shape(logits)[0], 1]),
          'probabilities': tf.nn.softmax(logits)}


def _of_texts(task, outputs):
  is_pair = task.num_texts == 2
  names = ('text', 'second_text')[:task.num_texts]
  signature = [tf.TensorSpec([None], tf.string, name=name) for name in names]
  if is_pair:
    @tf.function(input_signature=signature)
    def function(text: tf.Tensor, second_text: tf.Tensor) -> _Outputs:
      return outputs(text, second_text)
  else:
    @tf.function(input_signature=signature)
    def function(text: tf.Tensor) -> _Outputs:
      return outputs(text)
  is_regression = task.kind == finetuned_model.REGRESSION
  function.python_function.__doc__ = _TEXT_DOC.format(
      does='Scores' if is_regression else 'Classifies',
      what='pair of strings' if is_pair else 'string',
      second='\n  second_text: string [batch].' if is_pair else '',
      returns=_SCORE_DOC if is_regression else _CLASSES_DOC)
  return function


def _token_ids(task, model):
  @tf.function(input_signature=TOKEN_SPECS)
  def token_ids(input_word_ids: tf.Tensor, input_mask: tf.Tensor,
                input_type_ids: tf.Tensor) -> _Outputs:
    logits = model({'input_word_ids': input_word_ids, 'input_mask': input_mask,
                    'input_type_ids': input_type_ids}, training=False)
    return _answers(task, logits) | {'logits': logits}
  token_ids.python_function.__doc__ = _IDS_DOC.format(
      returns=_SCORE_DOC if task.kind == finetuned_model.REGRESSION
      else _CLASSES_DOC)
  return token_ids
