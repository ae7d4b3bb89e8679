"""What is served of a fine-tuned question-answering model: two signatures."""

import types

import tensorflow as tf

from official_ext.downstream import finetuned_model
from official_ext.export import answer_spans
from official_ext.export import answer_windows
from official_ext.export import row_encoders
from official_ext.export.finetuned_serving_module import FinetunedServingModule
from official_ext.export.finetuned_serving_module import TOKEN_SPECS
from official_ext.export.served_tokenizer import PortableTokenizer

_Outputs = dict[str, tf.Tensor]
# Of one context, lest a single string take all memory: 4,000 tokens and more at
# a doc stride of 128.
MAX_WINDOWS = 32


class AnswerServingModule(FinetunedServingModule):
  """A fine-tuned `BertSpanLabeler` as functions of tensors.

  Args:
    finetuned: of kind 'question_answering'.
    vocabulary_file: its pieces, one a line; becomes an asset.
    padding: see `row_encoder`.
    max_windows: most windows of one context.

  Raises:
    ValueError: questions may fill a window.
  """

  def __init__(self, finetuned: finetuned_model.FinetunedModel,
               vocabulary_file: str, *, padding: str | None = None,
               max_windows: int = MAX_WINDOWS):
    super().__init__(finetuned)
    model, task = finetuned.model, finetuned.task
    if task.max_query_length > task.seq_length - 4:
      raise ValueError(
          f'max_query_length is {task.max_query_length} and seq_length '
          f'{task.seq_length}, which leaves no room for a context.')
    tokenizer, portable, rows, lengths = self._serve_encoder(
        finetuned, vocabulary_file, padding)

    def answer(questions, contexts):
      pieces = answer_windows.context_pieces(contexts, tokenizer)
      windows = answer_windows.cut_windows(
          tokenizer(questions)[:, :task.max_query_length], pieces.ids,
          tokenizer=tokenizer, seq_length=task.seq_length,
          doc_stride=task.doc_stride, max_windows=max_windows)
      sequence = rows(windows.words, windows.types,
                      row_encoders.bucket_of(windows.words, lengths))
      start_logits, end_logits = model.span_labeling(sequence)
      spans = answer_spans.best_spans(
          windows, start_logits, end_logits, batch=pieces.ids.nrows(),
          n_best_size=task.n_best_size,
          max_answer_length=task.max_answer_length)
      return (_outputs(contexts, pieces, spans, portable, task)
              | {'num_tokens_left_out': windows.num_tokens_left_out})

    self.functions = types.MappingProxyType({
        'serving_default': _answer(answer), 'token_ids': _token_ids(model)})


def _outputs(contexts: tf.Tensor, pieces: answer_windows.ContextPieces,
             spans: answer_spans.Spans, portable: PortableTokenizer,
             task: finetuned_model.FinetunedTask) -> _Outputs:
  null_odds = spans.null_score - spans.score
  is_answered = spans.has_answer
  if task.null_score_threshold is not None:
    is_answered &= null_odds <= task.null_score_threshold
  # Contexts without a piece have nothing that could be looked up.
  pieces = pieces._replace(
      words=tf.concat([pieces.words, ['']], axis=0),
      word_starts=tf.pad(pieces.word_starts, [[0, 1]]),
      word_of=tf.concat(
          [pieces.word_of, tf.shape(pieces.words, tf.int64)], axis=0),
      index_in_word=tf.pad(pieces.index_in_word, [[0, 1]]))
  nowhere = tf.size(pieces.word_of, tf.int64) - 1

  def character(piece, is_end):
    piece = tf.where(is_answered, piece, nowhere)
    word = tf.gather(pieces.word_of, piece)
    text = tf.gather(pieces.words, word)
    # An empty word has no piece to look for.
    bounds = portable.bounds_in_words(
        tf.where(is_answered, text, '.'), tf.gather(pieces.index_in_word, piece))
    start = tf.gather(pieces.word_starts, word)
    before = tf.strings.length(
        tf.strings.substr(contexts, tf.zeros_like(start), start), 'UTF8_CHAR')
    return before + bounds[is_end]
  start = character(spans.first_piece, 0)
  end = character(spans.last_piece, 1)
  start, end = (tf.where(is_answered, each, -1) for each in (start, end))
  answer = tf.strings.substr(
      contexts, tf.maximum(start, 0), end - start, 'UTF8_CHAR')
  return {'answer': answer, 'start': start, 'end': end,
          'is_answered': is_answered, 'score': spans.score,
          'null_odds': null_odds}


def _answer(answer):
  @tf.function(input_signature=[
      tf.TensorSpec([None], tf.string, name=name)
      for name in ('question', 'context')])
  def answer_questions(question: tf.Tensor, context: tf.Tensor) -> _Outputs:
    """Answers each question by a part of its context.

    Contexts that are longer than the model can read are read in windows that
    overlap, and the best answer of all is taken.

    Args:
      question: string [batch].
      context: string [batch], UTF-8.

    Returns:
      answer: string [batch], as it stands in the context; '' for none.
      start: int32 [batch], the character of the context that the answer starts
        with, counted from 0 in Unicode code points, as Python counts; -1 for
        none.
      end: int32 [batch], the character after its last; -1 for none.
      is_answered: bool [batch], whether there is an answer.
      score: float32 [batch], of the best part: its start's and end's logits.
      null_odds: float32 [batch], the score of no answer less `score`.
      num_tokens_left_out: int32 [batch], at the end of a context with more
        windows than are read.
    """
    context = tf.strings.unicode_transcode(context, 'UTF-8', 'UTF-8')
    return answer(question, context)
  return answer_questions


def _token_ids(model):
  @tf.function(input_signature=TOKEN_SPECS)
  def token_ids(input_word_ids: tf.Tensor, input_mask: tf.Tensor,
                input_type_ids: tf.Tensor) -> _Outputs:
    """Logits of each token as the start and as the end of the answer.

    Args:
      input_word_ids: int32 [batch, length]: [CLS] question [SEP] context [SEP];
        any length up to the positions that the model has.
      input_mask: alike, 1 where there is a token.
      input_type_ids: alike, 1 for the context and what follows it.

    Returns:
      start_logits: float32 [batch, length].
      end_logits: float32 [batch, length].
    """
    start_logits, end_logits = model(
        {'input_word_ids': input_word_ids, 'input_mask': input_mask,
         'input_type_ids': input_type_ids}, training=False)
    return {'start_logits': start_logits, 'end_logits': end_logits}
  return token_ids
