"""Makes a task of acceptability out of word order, in CoLA's own layout.

  python benchmarks/word_order_task.py --output_dir runs/word_order \
    --fresh_like converted
  python -m official_ext.finetune --task cola --task_dir runs/word_order \
    --checkpoint converted --baseline_checkpoint runs/word_order/fresh \
    --output_dir runs/word_order/finetune

Sentences of the embedded corpus, half of them with their words shuffled: which
are acceptable? Each sentence is there once, as it is or shuffled, so that which
words it has says nothing, and always guessing one class is right half of the
time. Punctuation at the end stays there, and all is in lower case.

--fresh_like also writes `fresh`, a checkpoint of the same architecture with
random weights: what the task teaches a model that was never pre-trained.
"""

import argparse
import os
import random
import re
import tempfile

from official_ext.data import embedded_corpus

_END = re.compile(r'(?<=[.!?]) ')
# Words with plain letters, so that no code is shuffled; a comma may follow.
_WORD = re.compile(r"[A-Za-z][a-z'-]*,?")
_MIN_WORDS, _MAX_WORDS = 6, 12
# Of the corpus that is read: about 18,000 such sentences.
_CORPUS_BYTES = 4 << 20


def _sentences(path: str) -> list[list[str]]:
  """The plain sentences of a corpus, each once: words without the full stop."""
  found = {}
  with open(path, encoding='utf-8') as file:
    for line in file:
      for sentence in _END.split(line.strip()):
        words = sentence.removesuffix('.').lower().split()
        if (sentence.endswith('.') and _MIN_WORDS <= len(words) <= _MAX_WORDS
            and all(map(_WORD.fullmatch, words)) and len(set(words)) > 4):
          found[' '.join(words)] = words
  return list(found.values())


def _shuffled(words: list[str], generator: random.Random) -> list[str]:
  """The words in another order."""
  shuffled = list(words)
  while shuffled == words:
    generator.shuffle(shuffled)
  return shuffled


def _write_task(folder: str, sentences: list[list[str]], sizes: dict[str, int],
                generator: random.Random) -> None:
  """Writes train.tsv and dev.tsv, and test.tsv without labels."""
  os.makedirs(folder, exist_ok=True)
  generator.shuffle(sentences)
  rest = iter(sentences)
  for split, size in sizes.items():
    with open(os.path.join(folder, f'{split}.tsv'), 'w', encoding='utf-8') as file:
      if split == 'test':
        file.write('index\tsentence\n')
      for number in range(size):
        label = number % 2
        words = next(rest)
        text = ' '.join(words if label else _shuffled(words, generator)) + '.'
        file.write(f'{number}\t{text}\n' if split == 'test' else
                   f'docs\t{label}\t{"" if label else "*"}\t{text}\n')


def _write_fresh(folder: str, checkpoint: str) -> None:
  """Writes a checkpoint like another one, but with random weights."""
  import tf_keras

  from official_ext.modeling import build_pretrainer
  from official_ext.modeling.checkpoint_source import find_checkpoint
  from official_ext.modeling.checkpoint_weights import read_checkpoint
  from official_ext.modeling.checkpoint_weights import write_model
  from official_ext.modeling.weights import read_weights

  source = find_checkpoint(checkpoint)
  _, architecture = read_checkpoint(checkpoint)
  tf_keras.utils.set_random_seed(0)
  write_model(folder, read_weights(build_pretrainer(architecture)),
              architecture, vocab_file=source.vocabulary_file,
              lower_case=source.lower_case)


def main() -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--output_dir', required=True)
  parser.add_argument('--train_size', type=int, default=4000)
  parser.add_argument('--dev_size', type=int, default=1000)
  parser.add_argument('--test_size', type=int, default=200)
  parser.add_argument('--fresh_like', metavar='CHECKPOINT')
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  sizes = {split: getattr(options, f'{split}_size')
           for split in ('train', 'dev', 'test')}
  with tempfile.NamedTemporaryFile() as corpus:
    embedded_corpus.write_corpus(
        corpus.name, os.cpu_count() or 1, max_bytes=_CORPUS_BYTES)
    sentences = _sentences(corpus.name)
  if len(sentences) < sum(sizes.values()):
    parser.error(f'{len(sentences)} sentences are too few; ask for less')
  _write_task(options.output_dir, sentences, sizes, random.Random(options.seed))
  print(f'{sum(sizes.values())} of {len(sentences)} sentences are in '
        f'{options.output_dir}')
  if options.fresh_like:
    _write_fresh(os.path.join(options.output_dir, 'fresh'), options.fresh_like)


if __name__ == '__main__':
  main()
