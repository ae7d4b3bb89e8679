"""WordPiece vocabularies: learned from a bounded sample, or given.

Hugging Face's `tokenizers` learns the pieces; it never encodes (its treatment
of combining marks and emoji differs from tensorflow_text's).
"""

import collections
import contextlib
import itertools
import os
import unicodedata
from typing import Iterable, Sequence

import numpy as np

from official_ext.data.bad_text import BadText
from official_ext.data.corpus import CorpusFile
from official_ext.data.corpus import FileBlocks
from official_ext.data.documents import parse_block
from official_ext.data.stored_file import is_remote
from official_ext.data.stored_file import open_stream

SPECIAL_TOKENS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
SAMPLE_BYTES = 8 << 20
# Rarer characters become [UNK]; with all of them, scripts that occur once
# would crowd out words.
MAX_ALPHABET = 1000


def sample_text(files: Sequence[CorpusFile],
                sample_bytes: int = SAMPLE_BYTES, *,
                skips_bad_text: bool = False) -> list[str]:
  """Sentences from the heads of the files, about `sample_bytes` in all.

  Every file gives an equal share, but never less than 64 KiB; of many files
  evenly spaced ones are read.

  Args:
    files: the corpus.
    sample_bytes: how much to read, in characters.
    skips_bad_text: whether text that cannot be used is left out.

  Raises:
    ValueError, OSError: as `parse_block` and `FileBlocks.read`.
  """
  num_files = min(len(files), max(1, sample_bytes // (64 << 10)))
  chosen = [files[i * len(files) // num_files] for i in range(num_files)]
  share = sample_bytes // max(1, num_files)
  sentences = []
  left_over = 0
  for file in chosen:
    wanted = share + left_over
    with contextlib.closing(FileBlocks(file, skips_bad_text).read()) as blocks:
      of_file = itertools.chain.from_iterable(
          document for block in blocks for document in parse_block(
              block, BadText() if skips_bad_text else None))
      while wanted > 0 and (sentence := next(of_file, None)) is not None:
        sentences.append(sentence)
        wanted -= len(sentence)
    left_over = max(0, wanted)
  return sentences


def learn_vocabulary(sentences: Iterable[str], vocab_size: int, *,
                     lower_case: bool = True) -> list[str]:
  """Learns a WordPiece vocabulary, the same one on every run.

  The trainer numbers the characters in the order of a randomly seeded hash
  table, and breaks ties by number. Giving it the whole alphabet in order, as
  if it were special, takes the chance out.

  Args:
    sentences: the text to learn from.
    vocab_size: pieces wanted, the five special tokens among them.
    lower_case: as for the tokenizer.

  Returns:
    `vocab_size` pieces: the special tokens, single characters, longer pieces;
    filled with `[unused0]`, ... if the text does not give enough.

  Raises:
    ValueError: if the characters alone are more than `vocab_size`.
  """
  from tokenizers import models, normalizers, pre_tokenizers, Tokenizer, trainers
  normalizer = normalizers.BertNormalizer(
      clean_text=True, handle_chinese_chars=True, strip_accents=lower_case,
      lowercase=lower_case)
  split = pre_tokenizers.BertPreTokenizer()
  # As `Encoder` does it: JSON can hold what UTF-8 cannot, lone surrogates.
  text = '\n'.join(sentences).encode('utf-8', 'replace').decode('utf-8')
  text = normalizer.normalize_str(text)
  alphabet = _alphabet(text, vocab_size)
  trainer = trainers.WordPieceTrainer(
      vocab_size=vocab_size, special_tokens=[*SPECIAL_TOKENS, *alphabet],
      limit_alphabet=len(alphabet),
      initial_alphabet=[piece for piece in alphabet if len(piece) == 1],
      show_progress=False)
  learner = Tokenizer(models.WordPiece(unk_token='[UNK]'))
  learner.pre_tokenizer = split
  learner.train_from_iterator(text.split('\n'), trainer)
  pieces = learner.get_vocab()
  vocabulary = sorted(pieces, key=pieces.get)
  vocabulary += [f'[unused{i}]' for i in range(vocab_size - len(vocabulary))]
  check_vocabulary(vocabulary)
  return vocabulary


def _alphabet(text: str, vocab_size: int) -> list[str]:
  """Single characters by themselves and, where they occur, within a word."""
  points = np.frombuffer(text.encode('utf-32-le', 'replace'), np.uint32)
  characters, places, counts = np.unique(
      points, return_inverse=True, return_counts=True)
  is_space = np.array([chr(c).isspace() for c in characters], bool)
  # What stands alone, or ends the word before it.
  is_break = is_space | np.array([_is_punctuation(chr(c)) for c in characters], bool)
  after_break = np.ones(len(points), bool)
  after_break[1:] = is_break[places[:-1]]
  is_inner = np.zeros(len(characters), bool)
  is_inner[places[~after_break & ~is_break[places]]] = True
  ranked = sorted(np.flatnonzero(~is_space), key=lambda i: (-counts[i], i))
  kept = sorted(ranked[:MAX_ALPHABET])
  alphabet = [chr(characters[i]) for i in kept]
  alphabet += [f'##{chr(characters[i])}' for i in kept if is_inner[i]]
  if len(alphabet) + len(SPECIAL_TOKENS) > vocab_size:
    raise ValueError(
        f'--vocab_size {vocab_size} is less than the {len(alphabet)} single '
        f'characters and the {len(SPECIAL_TOKENS)} special tokens of this text;'
        f' give at least {len(alphabet) + len(SPECIAL_TOKENS)}')
  return alphabet


def _is_punctuation(character: str) -> bool:
  """What BERT splits off as a word of its own."""
  is_ascii_sign = character.isascii() and (
      character.isprintable() and not character.isalnum())
  return is_ascii_sign or unicodedata.category(character).startswith('P')


def check_vocabulary(vocabulary: Sequence[str]) -> None:
  """Refuses a vocabulary that cannot be used.

  Raises:
    ValueError: if a special token is missing, [PAD] is not the first piece, or
      pieces repeat.
  """
  missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
  if missing:
    raise ValueError(
        f'the vocabulary lacks {", ".join(missing)}; a BERT vocabulary needs '
        f'all of {", ".join(SPECIAL_TOKENS)}')
  if vocabulary[0] != '[PAD]':
    raise ValueError(
        f'the vocabulary starts with {vocabulary[0]!r}; [PAD] must come first,'
        ' because padding has id 0')
  if len(set(vocabulary)) != len(vocabulary):
    repeated = [p for p, n in collections.Counter(vocabulary).items() if n > 1]
    raise ValueError(
        f'the vocabulary holds {repeated[0]!r} more than once (and '
        f'{len(repeated) - 1} other pieces); each piece must be there once')


def read_vocabulary(path: str) -> list[str]:
  """Reads a vocabulary file: one piece a line.

  Raises:
    ValueError: if it is not UTF-8, or cannot be used.
    OSError: if it cannot be read.
  """
  if not is_remote(path) and not os.path.isfile(path):
    raise FileNotFoundError(
        f'no vocabulary file {path}; give a file of one piece a line')
  with contextlib.closing(open_stream(path)) as stream:
    data = stream.read()
  try:
    lines = data.decode('utf-8').split('\n')
  except UnicodeDecodeError as error:
    raise ValueError(
        f'{path}: not UTF-8 (byte {error.start}); a vocabulary is a UTF-8 file'
        ' of one piece a line') from error
  vocabulary = [line.rstrip('\r') for line in lines]
  while vocabulary and not vocabulary[-1]:
    vocabulary.pop()
  try:
    check_vocabulary(vocabulary)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  return vocabulary


def vocabulary_bytes(vocabulary: Sequence[str]) -> bytes:
  """What `vocab.txt` holds; its SHA-256 is what manifests name."""
  return ''.join(f'{piece}\n' for piece in vocabulary).encode('utf-8')
