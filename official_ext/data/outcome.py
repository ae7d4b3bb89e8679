"""What a runner hands back: all that the manifest says of the records."""

import dataclasses

import numpy as np

from official_ext.data.bad_text import BadText
from official_ext.data.corpus import CorpusFile
from official_ext.data.manifest import Split
from official_ext.data.manifest import Unigram
from official_ext.data.settings import PrepareSettings
from official_ext.data.shards import add_counts
from official_ext.data.shards import WrittenShard


@dataclasses.dataclass
class Outcome:
  """The records of a corpus.

  Attributes:
    sha256: hash of each file, in order; empty for one that could not be read.
    documents, tokens: of each split.
    bad_text: what was skipped.
    shards: of each split.
    duplicates: paragraphs and bytes that were left out as repeated; None if
      none were looked for.
  """

  sha256: list[str]
  documents: dict[str, int]
  tokens: dict[str, int]
  bad_text: BadText
  shards: dict[str, list[WrittenShard]]
  duplicates: dict[str, int] | None = None

  @classmethod
  def nothing_yet(cls, files: list[CorpusFile]) -> 'Outcome':
    return cls([''] * len(files), {'train': 0, 'eval': 0},
               {'train': 0, 'eval': 0}, BadText(), {})

  def count(self, split: str, documents: int, tokens: int) -> None:
    self.documents[split] += documents
    self.tokens[split] += tokens

  def check_counts(self, settings: PrepareSettings) -> None:
    """Checks that there is something to train on and to evaluate with.

    Raises:
      ValueError: if a split that should be there is empty.
    """
    documents = sum(self.documents.values())
    if not documents:
      raise ValueError('the input holds no text; give files with some')
    for split, is_wanted in (('train', True),
                             ('eval', settings.eval_fraction > 0)):
      if is_wanted and not self.documents[split]:
        raise ValueError(
            f'none of the {documents} documents fell into the {split} split '
            f'with eval_fraction {settings.eval_fraction}; separate documents '
            'by blank lines, give more text, or change --eval_fraction (0 holds '
            'nothing out)')

  def splits(self) -> dict[str, Split]:
    """What the manifest says of the splits."""
    return {
        split: Split(
            sum(written.shard.examples for written in shards),
            self.documents[split], self.tokens[split],
            tuple(written.shard for written in shards))
        for split, shards in self.shards.items()}

  def unigram(self, vocab_size: int) -> Unigram | None:
    """What token frequencies alone predict; None if nothing is held out."""
    counts = {
        split: add_counts(
            [np.zeros(vocab_size, np.int64),
             *(written.label_counts for written in shards)])
        for split, shards in self.shards.items()}
    held_out = counts.get('eval')
    if held_out is None or not held_out.sum():
      return None
    # One more of each piece, so that no held-out token is impossible.
    share = (counts['train'] + 1) / (counts['train'].sum() + vocab_size)
    return Unigram(
        cross_entropy=float(-held_out @ np.log(share) / held_out.sum()),
        accuracy=float(held_out[counts['train'].argmax()] / held_out.sum()))

  def index_entries(self) -> np.ndarray:
    """int64 [entries] of all shards, in the manifest's order."""
    return np.concatenate(
        [written.entries for shards in self.shards.values()
         for written in shards])


def shard_names(settings: PrepareSettings) -> dict[str, list[str]]:
  """The file names of each split's shards."""
  return {
      split: [f'{split}-{number:05d}-of-{num_shards:05d}.tfrecord'
              for number in range(num_shards)]
      for split, num_shards in (('train', settings.num_shards),
                                ('eval', settings.num_eval_shards))
      if num_shards}
