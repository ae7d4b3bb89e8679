"""Text that cannot be used: named and refused, or skipped and counted."""

import gzip
import json
import os

import pytest

from official_ext.data import build
from official_ext.data import documents as documents_lib
from official_ext.data.bad_text import BadText
from official_ext.data.corpus import FileBlocks
from official_ext.data.corpus import lay_out
from official_ext.data.manifest import Manifest
from official_ext.data.reader import Block
from official_ext.data.reader import InputFile
from official_ext.data.settings import PrepareSettings

_GOOD = '\n\n'.join(f'Good text number {number}.' for number in range(60))
_FLAG = '--on_bad_text=skip'


def test_a_bad_line_is_left_out_of_its_document():
  bad_text = BadText()
  block = Block('a.txt', 'txt', 7, b'One.\nTw\xff.\nThree.\n\n\xfe\n\nFour.')
  assert documents_lib.parse_block(block, bad_text) == [
      ['One.', 'Three.'], ['Four.']]
  assert bad_text == BadText(2, 0, [
      f'a.txt, line 8: not UTF-8 (byte 0x{byte}); convert the file to UTF-8, or '
      f'skip such lines with {_FLAG}'.replace('line 8', f'line {line}')
      for line, byte in ((8, 'ff'), (11, 'fe'))])


@pytest.mark.parametrize('line, reason', [
    (b'{"text": "\xff"}', 'not UTF-8'), (b'{"text": ', 'not JSON'),
    (b'["text"]', 'no string field "text"'), (b'{"text": 3}', 'no string field'),
    (b'[' * 100_000, 'JSON that is nested too deeply')], ids=range(5))
def test_a_bad_record_is_left_out(line, reason):
  data = b'{"text": "One."}\n' + line + b'\n\n{"text": "Two."}\n'
  bad_text = BadText()
  block = Block('a.jsonl', 'jsonl', 1, data)
  assert documents_lib.parse_block(block, bad_text) == [['One.'], ['Two.']]
  assert bad_text.num_lines == 1
  (fault,) = bad_text.first
  assert fault.startswith(f'a.jsonl, line 2: {reason}') and _FLAG in fault
  with pytest.raises(ValueError, match='a.jsonl, line 2: ' + reason):
    documents_lib.parse_block(block)


def test_ten_faults_are_told_and_all_counted():
  bad_text = BadText()
  documents_lib.parse_block(
      Block('a.txt', 'txt', 1, b'\xff\n' * 999), bad_text)
  assert bad_text.num_lines == 999 and len(bad_text.first) == 10


@pytest.fixture(name='inputs')
def _inputs(tmp_path):
  """Three good files, and one fault in each of three more."""
  folder = tmp_path / 'in'
  folder.mkdir()
  (folder / 'a.txt').write_text(_GOOD)
  (folder / 'b.txt').write_bytes(b'Fine.\n\nBad \xff line.\n\n' + _GOOD.encode())
  (folder / 'c.jsonl').write_text(
      '{"text": 5}\n' + json.dumps({'text': 'Good record.'}) + '\n')
  # Its end is missing: what was compressed before it can be had.
  (folder / 'd.txt.gz').write_bytes(gzip.compress(_GOOD.encode())[:-9])
  return str(folder)


_SETTINGS = dict(vocab_size=60, seq_length=16, max_predictions_per_seq=3,
                 num_shards=2, eval_fraction=0.2)


def test_skipping_is_told_and_written_down(inputs, tmp_path):
  said = []
  output = str(tmp_path / 'out')
  settings = PrepareSettings(**_SETTINGS, on_bad_text='skip')
  build.prepare(output, [f'{inputs}/*'], settings, num_workers=1, say=said.append)
  assert said[-1] == 'skipped 2 lines, and the rest of 1 files, in all'
  assert sorted(line.split(' (')[0].split(';')[0] for line in said[1:-1]) == [
      f'skipped: {inputs}/b.txt, line 3: not UTF-8',
      f'skipped: {inputs}/c.jsonl, line 1: no string field "text"',
      f'skipped: {inputs}/d.txt.gz: cannot be unzipped']
  manifest = Manifest.read(output)
  assert manifest.settings['on_bad_text'] == 'skip'
  assert manifest.corpus['skipped_lines'] == 2
  assert manifest.corpus['skipped_files'] == 1
  assert all(file['sha256'] for file in manifest.corpus['files'])


@pytest.mark.parametrize('name, message', [
    ('b.txt', r'b.txt, line 3: not UTF-8 \(byte 0xff\); convert the file to '
     f'UTF-8, or skip such lines with {_FLAG}$'),
    ('c.jsonl', f'c.jsonl, line 1: no string field "text"; .*{_FLAG}$'),
    ('d.txt.gz', f'd.txt.gz: cannot be unzipped .* with {_FLAG}$')])
def test_stopping_is_the_default(inputs, tmp_path, name, message):
  with pytest.raises((ValueError, OSError), match=message):
    build.prepare(str(tmp_path / 'out'), [f'{inputs}/{name}'],
                  PrepareSettings(**_SETTINGS), num_workers=1)
  assert not os.path.exists(tmp_path / 'out')


def test_a_file_that_is_gone_is_skipped_too(inputs, tmp_path):
  """A link into nowhere is found by a glob, and cannot be opened."""
  path = f'{inputs}/gone.txt'
  (file,) = lay_out([InputFile(path, 'txt', False, 9)])
  blocks = FileBlocks(file, skips_bad_text=True)
  assert list(blocks.read()) == []
  assert blocks.bad_text.first == [f'{path}: No such file or directory']
  with pytest.raises(FileNotFoundError):
    list(FileBlocks(file, skips_bad_text=False).read())


def test_a_vocabulary_without_mask_is_refused_at_once(inputs, tmp_path):
  vocabulary = tmp_path / 'vocab.txt'
  vocabulary.write_text('[PAD]\n[UNK]\n[CLS]\n[SEP]\ngood\n')
  with pytest.raises(ValueError, match=(
      rf'vocab.txt: the vocabulary lacks \[MASK\]; a BERT vocabulary needs all')):
    build.prepare(str(tmp_path / 'out'), [f'{inputs}/a.txt'], PrepareSettings(
        vocab_file=str(vocabulary), seq_length=16, max_predictions_per_seq=3),
                  num_workers=1)
  assert not os.path.exists(tmp_path / 'out')
