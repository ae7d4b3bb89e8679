"""Directories of tiny fine-tuned models that have not been trained."""

import os

from official_ext.downstream import finetuned_model
from tests.export import tiny_run

SEQ_LENGTH = tiny_run.TARGET.max_positions
TASKS = {
    'pairs': finetuned_model.FinetunedTask(
        task='mrpc', kind='classification', label_names=('no', 'yes', 'perhaps'),
        num_texts=2, seq_length=SEQ_LENGTH, lower_case=True),
    'score': finetuned_model.FinetunedTask(
        task='score', kind='regression', num_texts=1, seq_length=SEQ_LENGTH,
        lower_case=True),
    'answers': finetuned_model.FinetunedTask(
        task='squad20', kind='question_answering', num_texts=2,
        seq_length=SEQ_LENGTH, lower_case=True, doc_stride=4,
        max_query_length=5, max_answer_length=4, n_best_size=20,
        null_score_threshold=-2.0),
}


def write_finetuned(path, name):
  """Writes the model of `TASKS[name]`; returns it."""
  os.makedirs(path, exist_ok=True)
  vocabulary_file = os.path.join(path, 'pieces.txt')
  with open(vocabulary_file, 'w', encoding='utf-8') as file:
    file.write('\n'.join(tiny_run.PIECES) + '\n')
  task = TASKS[name]
  model = finetuned_model.build_task_model(
      tiny_run.TARGET, task.kind, task.num_outputs,
      # Far from uniform, so that differences would show.
      initializer_stddev=0.3)
  finetuned_model.save_finetuned(
      str(path), model, tiny_run.TARGET, task, vocabulary_file=vocabulary_file)
  return model
