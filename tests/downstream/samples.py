"""Small files in the layouts of GLUE and SQuAD, with rules that can be learnt."""

import json
import os
import random

from official_ext.growth import Architecture
from official_ext.modeling import build_pretrainer
from official_ext.modeling.checkpoint_weights import write_model
from official_ext.modeling.weights import read_weights

WORDS = ('alpha', 'beta', 'gamma', 'delta', 'good', 'bad', 'same', 'other',
         'yes', 'no', '##s', 'who', 'is', 'the', '.', 'in', 'paris', 'rome',
         "'", '-')
VOCABULARY = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *WORDS)
ARCHITECTURE = Architecture(
    num_layers=1, hidden_size=16, num_heads=2, inner_size=32,
    vocab_size=len(VOCABULARY), max_positions=32)
_FILLERS = WORDS[:4]


def write_vocabulary(folder) -> str:
  path = os.path.join(folder, 'vocab.txt')
  with open(path, 'w') as file:
    file.write('\n'.join(VOCABULARY) + '\n')
  return path


def write_checkpoint(folder, architecture=ARCHITECTURE) -> str:
  """A checkpoint with fresh weights, as `grow` or `convert` would write it."""
  os.makedirs(folder, exist_ok=True)
  model = build_pretrainer(architecture, initializer_stddev=0.2)
  write_model(os.path.join(folder, 'checkpoint'), read_weights(model),
              architecture, vocab_file=write_vocabulary(folder))
  return os.path.join(folder, 'checkpoint')


class Sentences:
  """Random words, with one among them that decides the label."""

  def __init__(self, seed=0):
    self._random = random.Random(seed)

  def __call__(self, *deciding):
    words = self._random.choices(_FILLERS, k=self._random.randint(2, 5))
    words += deciding
    self._random.shuffle(words)
    return ' '.join(words)

  def label(self, *labels):
    return self._random.choice(labels)


def write_tsv(path, header, rows, bom=False):
  os.makedirs(os.path.dirname(path), exist_ok=True)
  lines = ['\t'.join(header)] if header else []
  lines += ['\t'.join(map(str, row)) for row in rows]
  with open(path, 'w', encoding='utf-8-sig' if bom else 'utf-8') as file:
    file.write('\n'.join(lines) + '\n')


def write_glue(folder, train=64, dev=20, test=7) -> str:
  """All nine tasks, each in its own layout."""
  make = Sentences()
  sizes = {'train': train, 'dev': dev}

  def write(task, split, header, row, count, **options):
    write_tsv(os.path.join(folder, task, f'{split}.tsv'), header,
              [row(number) for number in range(count)], **options)

  def cola(_):
    label = make.label(0, 1)
    return 'gj04', label, '' if label else '*', make(('bad', 'good')[label])

  def sst2(_):
    label = make.label(0, 1)
    return make(('bad', 'good')[label]) + ' ', label

  for split, size in sizes.items():
    write('CoLA', split, None, cola, size)
    write('SST-2', split, ('sentence', 'label'), sst2, size)
  write('CoLA', 'test', ('index', 'sentence'),
        lambda n: (n, make(make.label('good', 'bad'))), test)
  write('SST-2', 'test', ('index', 'sentence'),
        lambda n: (n, make(make.label('good', 'bad'))), test)

  def pair(labels, words=('no', 'yes', 'other')):
    label = make.label(*range(len(labels)))
    # A quotation mark must not hide the tabs after it.
    return [make() + ' "', make(words[label])], labels[label]

  def mrpc(_):
    texts, label = pair((0, 1))
    return label, 11, 12, *texts

  def stsb(number):
    texts, score = pair((0.5, 2.5, 4.75))
    return (number, 'news', 'file', 2012, number, 'a', 'b', *texts, score)

  def qqp(number):
    texts, label = pair((0, 1))
    return number, 1, 2, *texts, label

  def mnli(annotators):
    def row(number):
      texts, label = pair(('contradiction', 'entailment', 'neutral'))
      return (number, '7', '7a', 'fiction', 'x', 'x', 'x', 'x', *texts,
              *[label] * annotators, label)
    return row

  entailment = ('entailment', 'not_entailment')

  def triple(labels):
    def row(number):
      texts, label = pair(labels)
      return number, *texts, label
    return row

  mrpc_header = ('#1 ID', '#2 ID', '#1 String', '#2 String')
  stsb_header = ('index', 'genre', 'filename', 'year', 'old_index', 'source1',
                 'source2', 'sentence1', 'sentence2')
  sentences = ('sentence1', 'sentence2')
  question = ('question', 'sentence')
  mnli_header = ('index', 'promptID', 'pairID', 'genre',
                 'sentence1_binary_parse', 'sentence2_binary_parse',
                 'sentence1_parse', 'sentence2_parse', *sentences)
  for split, size in sizes.items():
    write('MRPC', split, ('Quality', *mrpc_header), mrpc, size, bom=True)
    write('STS-B', split, (*stsb_header, 'score'), stsb, size)
    write('QQP', split, ('id', 'qid1', 'qid2', 'question1', 'question2',
                         'is_duplicate'), qqp, size)
    write('QNLI', split, ('index', *question, 'label'), triple(entailment), size)
    write('RTE', split, ('index', *sentences, 'label'), triple(entailment), size)
    write('WNLI', split, ('index', *sentences, 'label'), triple((0, 1)), size)
  write('MNLI', 'train', (*mnli_header, 'label1', 'gold_label'), mnli(1), train)
  for split in ('dev_matched', 'dev_mismatched'):
    write('MNLI', split, (*mnli_header, *(f'label{n}' for n in range(1, 6)),
                          'gold_label'), mnli(5), dev)
  for split in ('test_matched', 'test_mismatched'):
    write('MNLI', split, mnli_header, lambda n: mnli(1)(n)[:10], test)
  write('MRPC', 'test', ('index', *mrpc_header),
        lambda n: (n, *mrpc(n)[1:]), test)
  write('STS-B', 'test', stsb_header, lambda n: stsb(n)[:-1], test)
  write('QQP', 'test', ('id', 'question1', 'question2'),
        lambda n: (n, *qqp(n)[3:5]), test)
  for task, header in (('QNLI', question), ('RTE', sentences),
                       ('WNLI', sentences)):
    write(task, 'test', ('index', *header),
          lambda n: triple(('a', 'b'))(n)[:3], test)
  write('diagnostic', 'diagnostic', ('index', *sentences),
        lambda n: triple(('a', 'b'))(n)[:3], test)
  return str(folder)


def write_squad(folder, version='1.1', train=24, dev=8) -> str:
  """Who is in the one town? Contexts that take several windows."""
  make = Sentences(1)

  def question(number):
    is_impossible = version == '2.0' and number % 4 == 3
    town = make.label('paris', 'rome')
    name = make.label('alpha', 'beta')
    context = f'{make()} . {name} is in {town} . {make()} {make()} . {make()} .'
    answers = [{'text': name, 'answer_start': context.index(f'{name} is in')}]
    result = {'id': f'q{number}', 'question': f'who is in {town}',
              'answers': [] if is_impossible else answers}
    if version == '2.0':
      result['is_impossible'] = is_impossible
      if is_impossible:
        result['question'] = 'who is in gamma'
    return {'context': context, 'qas': [result]}

  os.makedirs(folder, exist_ok=True)
  for split, size in (('train', train), ('dev', dev)):
    with open(os.path.join(folder, f'{split}-v{version}.json'), 'w') as file:
      json.dump({'version': version, 'data': [{
          'title': 'towns',
          'paragraphs': [question(number) for number in range(size)]}]}, file)
  return str(folder)
