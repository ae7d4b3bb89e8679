"""The nine tasks of GLUE: their files, labels, metrics and submissions.

A. Wang et al., *GLUE: A Multi-Task Benchmark and Analysis Platform for Natural
Language Understanding*, ICLR 2019; files as gluebenchmark.com distributes them.
"""

from collections.abc import Mapping
import dataclasses

from official_ext.downstream.finetuned_model import CLASSIFICATION
from official_ext.downstream.finetuned_model import REGRESSION

_BINARY = ('0', '1')
_ENTAILMENT = ('entailment', 'not_entailment')


@dataclasses.dataclass(frozen=True)
class TestFile:
  """Examples without labels, and the file of the submission they are for.

  Attributes:
    path: relative to the task's folder.
    index: column of the number that the submission repeats.
    columns: of the texts.
  """

  path: str
  index: str
  columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlueTask:
  """One task.

  Attributes:
    name: as `--task` takes it.
    title: as papers and submissions write it.
    folder: within a GLUE directory.
    kind: 'classification' or 'regression'.
    label_names: the classes; empty for a regression.
    text_columns: one or two, in the order in which the model reads them.
    label_column: of the label.
    header: columns of a training file without a header line; None if there is
      one.
    train_files: names that the training file may have; the first one is GLUE's.
    dev_files: name of the split to the names that its file may have.
    test_files: name of the submission's file to the examples.
    metrics: of each development split.
    skips_broken_lines: whether lines with too few columns are in the files as
      they are distributed.
  """

  name: str
  title: str
  folder: str
  kind: str = CLASSIFICATION
  label_names: tuple[str, ...] = _BINARY
  text_columns: tuple[str, ...] = ('sentence1', 'sentence2')
  label_column: str = 'label'
  header: tuple[str, ...] | None = None
  train_files: tuple[str, ...] = ('train.tsv',)
  dev_files: Mapping[str, tuple[str, ...]] = dataclasses.field(
      default_factory=lambda: {'dev': ('dev.tsv',)})
  test_files: Mapping[str, TestFile]
  metrics: tuple[str, ...] = ('accuracy',)
  skips_broken_lines: bool = False

  def metric_name(self, metric: str, split: str) -> str:
    """What a metric of a development split is called in results."""
    return metric + split.removeprefix('dev')


def _test(name: str, *columns: str, index: str = 'index') -> dict[str, TestFile]:
  return {f'{name}.tsv': TestFile('test.tsv', index, columns)}


_PAIR = ('sentence1', 'sentence2')
_QQP = ('question1', 'question2')
_MRPC = ('#1 String', '#2 String')

# In the order of the paper's table.
GLUE_TASKS = {task.name: task for task in (
    GlueTask(
        name='cola', title='CoLA', folder='CoLA', text_columns=('sentence',),
        header=('source', 'label', 'mark', 'sentence'),
        # The second names are those of the original distribution.
        train_files=('train.tsv', 'in_domain_train.tsv'),
        dev_files={'dev': ('dev.tsv', 'in_domain_dev.tsv')},
        test_files=_test('CoLA', 'sentence'), metrics=('matthews',)),
    GlueTask(
        name='sst2', title='SST-2', folder='SST-2',
        text_columns=('sentence',), test_files=_test('SST-2', 'sentence')),
    GlueTask(
        name='mrpc', title='MRPC', folder='MRPC', text_columns=_MRPC,
        label_column='Quality', test_files=_test('MRPC', *_MRPC),
        metrics=('f1', 'accuracy')),
    GlueTask(
        name='stsb', title='STS-B', folder='STS-B', kind=REGRESSION,
        label_names=(), label_column='score',
        test_files=_test('STS-B', *_PAIR), metrics=('pearson', 'spearman')),
    GlueTask(
        name='qqp', title='QQP', folder='QQP', text_columns=_QQP,
        label_column='is_duplicate',
        test_files=_test('QQP', *_QQP, index='id'),
        metrics=('f1', 'accuracy'), skips_broken_lines=True),
    GlueTask(
        name='mnli', title='MNLI', folder='MNLI',
        label_names=('contradiction', 'entailment', 'neutral'),
        label_column='gold_label',
        dev_files={'dev_matched': ('dev_matched.tsv',),
                   'dev_mismatched': ('dev_mismatched.tsv',)},
        test_files={
            'MNLI-m.tsv': TestFile('test_matched.tsv', 'index', _PAIR),
            'MNLI-mm.tsv': TestFile('test_mismatched.tsv', 'index', _PAIR),
            # GLUE's diagnostic set, which the MNLI model answers.
            'AX.tsv': TestFile('../diagnostic/diagnostic.tsv', 'index', _PAIR)}),
    GlueTask(
        name='qnli', title='QNLI', folder='QNLI', label_names=_ENTAILMENT,
        text_columns=('question', 'sentence'),
        test_files=_test('QNLI', 'question', 'sentence')),
    GlueTask(
        name='rte', title='RTE', folder='RTE', label_names=_ENTAILMENT,
        test_files=_test('RTE', *_PAIR)),
    GlueTask(
        name='wnli', title='WNLI', folder='WNLI',
        test_files=_test('WNLI', *_PAIR)),
)}

# The span of STS-B's scores.
MIN_SCORE, MAX_SCORE = 0.0, 5.0
