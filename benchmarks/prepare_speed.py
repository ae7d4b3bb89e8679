"""How much faster `prepare` is than Model Garden's `create_pretraining_data`.

  python benchmarks/prepare_speed.py --input books.txt.gz

Without --input the text is the embedded corpus, written to a file beforehand.
Both are timed as whole commands, process start included, on the same text with
the same vocabulary, sequence length, predictions and duplication; runs
alternate, so that a busy machine slows both. Model Garden's tool reads
unzipped text and takes a line for a sentence, so it runs twice:

  as is: the file unzipped. Where a document is one long line it makes one
    example of it and drops the rest; `prepare` uses it all.
  sentences: the text as `prepare` splits it, a sentence a line, so that both
    write about the same number of examples.

Prints the medians of the wall time and their ratios.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time

from official_ext.data import corpus
from official_ext.data import documents
from official_ext.data import embedded_corpus
from official_ext.data import reader
from official_ext.data import stored_file
from official_ext.data import vocabulary
from official_ext.data import workers


def _write_texts(path: str, folder: str) -> None:
  """Writes `as_is.txt`, `sentences.txt` and a learned `vocab.txt`."""
  files = reader.expand_inputs([path])
  with open(os.path.join(folder, 'as_is.txt'), 'wb') as as_is, open(
      os.path.join(folder, 'sentences.txt'), 'w', encoding='utf-8') as sentences:
    for file in files:
      with contextlib.closing(stored_file.open_stream(file.path)) as stream:
        for block in reader.read_blocks(file, stream):
          as_is.write(block.data)
          for document in documents.parse_block(block):
            sentences.write('\n'.join(document) + '\n\n')
  pieces = vocabulary.learn_vocabulary(vocabulary.sample_text(corpus.lay_out(files)), 8192)
  with open(os.path.join(folder, 'vocab.txt'), 'wb') as file:
    file.write(vocabulary.vocabulary_bytes(pieces))


def _wall_seconds(command: list[str]) -> float:
  start = time.monotonic()
  subprocess.run(command, check=True, capture_output=True)
  return time.monotonic() - start


def main() -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--input')
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--seq_length', type=int, default=128)
  parser.add_argument('--max_predictions', type=int, default=20)
  parser.add_argument('--dupe_factor', type=int, default=1)
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    text_file = arguments.input
    if text_file is None:
      text_file = os.path.join(folder, 'embedded.txt')
      embedded_corpus.write_corpus(text_file, workers.num_cores())
    _write_texts(text_file, folder)
    vocab_file = os.path.join(folder, 'vocab.txt')

    def ours(repeat):
      return [sys.executable, '-m', 'official_ext.prepare',
              f'--input={text_file}', f'--vocab_file={vocab_file}',
              f'--output_dir={folder}/ours{repeat}',
              f'--seq_length={arguments.seq_length}',
              f'--max_predictions_per_seq={arguments.max_predictions}',
              f'--dupe_factor={arguments.dupe_factor}']

    def theirs(text):
      return [sys.executable, '-m', 'official.nlp.data.create_pretraining_data',
              f'--input_file={folder}/{text}.txt', f'--vocab_file={vocab_file}',
              f'--output_file={folder}/theirs.tfrecord', '--use_v2_feature_names',
              f'--max_seq_length={arguments.seq_length}',
              f'--max_predictions_per_seq={arguments.max_predictions}',
              f'--dupe_factor={arguments.dupe_factor}']

    walls = {'prepare': [], 'as is': [], 'sentences': []}
    for repeat in range(arguments.repeats):
      for name, command in (('prepare', ours(repeat)), ('as is', theirs('as_is')),
                            ('sentences', theirs('sentences'))):
        walls[name].append(_wall_seconds(command))
        print(f'{name}: {walls[name][-1]:.1f} s', flush=True)
  medians = {name: statistics.median(values) for name, values in walls.items()}
  print(f'\nmedian of {arguments.repeats}: prepare {medians["prepare"]:.1f} s')
  for name in ('as is', 'sentences'):
    print(f'create_pretraining_data, {name}: {medians[name]:.1f} s, '
          f'{medians[name] / medians["prepare"]:.1f}x as long')


if __name__ == '__main__':
  main()
