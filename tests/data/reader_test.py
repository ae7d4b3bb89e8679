"""Files to blocks to documents, and what is said of files that are no good."""

import gzip
import json
import tracemalloc

import pytest

from official_ext.data import documents as documents_lib
from official_ext.data import reader
from official_ext.data import stored_file


def _documents(*patterns) -> list[list[str]]:
  found = []
  for file in reader.expand_inputs(list(patterns)):
    stream = stored_file.open_stream(file.path)
    try:
      for block in reader.read_blocks(file, stream):
        found.extend(documents_lib.parse_block(block))
    finally:
      stream.close()
  return found


_EXPECTED = [['First line.', 'Second line.'], ['Next document, é.'], ['Last.']]


@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_text(tmp_path, newline):
  text = ('\ufeff\n\nFirst line.\n  Second line. \n \t\nNext document, é.\n\n\n\nLast.'
          .replace('\n', newline))
  (tmp_path / 'a.txt').write_bytes(text.encode())
  (tmp_path / 'b.txt.gz').write_bytes(gzip.compress(text.encode()))
  assert _documents(str(tmp_path / 'a.txt')) == _EXPECTED
  assert _documents(str(tmp_path / '*')) == _EXPECTED * 2
  # Named twice, read once; commas and repeats both separate.
  a, b = str(tmp_path / 'a.txt'), str(tmp_path / 'b.txt.gz')
  assert _documents(f'{a},{b}', a) == _EXPECTED * 2


def test_json_lines(tmp_path):
  lines = '\n'.join(json.dumps({'text': '\n\n'.join(d), 'id': 1})
                    for d in _EXPECTED)
  (tmp_path / 'a.jsonl').write_text(lines + '\n\n')
  (tmp_path / 'b.jsonl.gz').write_bytes(gzip.compress(lines.encode()))
  assert _documents(str(tmp_path / '*')) == _EXPECTED * 2


def test_blocks_end_where_documents_do(tmp_path, monkeypatch):
  monkeypatch.setattr(reader, 'BLOCK_BYTES', 50)
  expected = [[f'Document {i}.', 'x' * i] for i in range(1, 90)]
  (tmp_path / 'a.txt').write_text('\n\n'.join('\n'.join(d) for d in expected))
  (tmp_path / 'b.jsonl').write_text('\n'.join(
      json.dumps({'text': '\n'.join(d)}) for d in expected))
  assert _documents(str(tmp_path / 'a.txt')) == expected
  assert _documents(str(tmp_path / 'b.jsonl')) == expected


def test_endless_documents_are_cut(tmp_path, monkeypatch):
  monkeypatch.setattr(reader, 'BLOCK_BYTES', 64)
  monkeypatch.setattr(reader, 'MAX_DOCUMENT_BYTES', 128)
  (tmp_path / 'lines.txt').write_text('twelve bytes\n' * 40)
  found = _documents(str(tmp_path / 'lines.txt'))
  assert len(found) > 1 and sum(found, []) == ['twelve bytes'] * 40
  (tmp_path / 'words.txt').write_text('word ' * 200)
  found = _documents(str(tmp_path / 'words.txt'))
  assert ' '.join(sum(found, [])).split() == ['word'] * 200
  (tmp_path / 'letters.txt').write_text('é\u4e2d😀' * 200, encoding='utf-8')
  assert ''.join(sum(_documents(str(tmp_path / 'letters.txt')), [])) == (
      'é\u4e2d😀' * 200)


def test_memory_does_not_grow_with_the_file(tmp_path):
  def peak(num_megabytes):
    path = tmp_path / f'{num_megabytes}.txt.gz'
    with gzip.open(path, 'wb', 1) as file:
      for _ in range(num_megabytes):
        file.write((b'A sentence of a document.\n' * 8 + b'\n') * 5000)
    tracemalloc.start()
    [file] = reader.expand_inputs([str(path)])
    stream = stored_file.open_stream(file.path)
    blocks = sum(1 for _ in reader.read_blocks(file, stream))
    stream.close()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert blocks >= num_megabytes
    return peak_bytes

  assert peak(30) < 1.2 * peak(6) < 12 << 20


def test_long_lines_are_split_into_sentences():
  short = 'Dr. Who came. He left.'
  assert documents_lib.split_sentences(short) == [short]
  sentences = ['It began so.', 'Did it?', 'He said "yes."', '(It did!)', 'No end']
  assert documents_lib.split_sentences(
      ' '.join(sentences * 20)) == sentences[:4] + (
          ['No end It began so.'] + sentences[1:4]) * 19 + ['No end']
  assert documents_lib.split_sentences('第一句。第二句！' * 60) == [
      '第一句。', '第二句！'] * 60


def test_the_split_is_by_text():
  documents = [[f'Sentence {i}.', 'Another.'] for i in range(4000)]
  held_out = [d for d in documents if documents_lib.is_held_out(d, 0.1)]
  assert 320 < len(held_out) < 480
  assert not any(documents_lib.is_held_out(d, 0) for d in documents)
  more = [d for d in documents if documents_lib.is_held_out(d, 0.2)]
  assert all(d in more for d in held_out)


@pytest.mark.parametrize('name,content,message', [
    ('bad.txt', b'one\n\ntwo\nthr\xe9e\n', r'bad.txt, line 4: not UTF-8 \(byte 0xe9\)'),
    ('bad.jsonl', b'{"text": "a"}\n{"text": "\xff"}\n', 'bad.jsonl, line 2: not UTF-8'),
    ('bad.jsonl', b'{"text": "a"}\n\n{"text": \n', 'bad.jsonl, line 3: not JSON'),
    ('bad.jsonl', b'{"body": "a"}\n', 'bad.jsonl, line 1: no string field "text"'),
    ('bad.jsonl', b'["text"]\n', 'bad.jsonl, line 1: no string field "text"'),
    ('bad.jsonl', b'{"text": 3}\n', 'bad.jsonl, line 1: no string field "text"'),
    ('bad.txt.gz', b'not gzip', 'bad.txt.gz: cannot be unzipped'),
    ('bad.txt.gz', gzip.compress(b'text ' * 999, mtime=0)[:-9], 'bad.txt.gz: cannot be unzip'),
    ('bad.pdf', b'%PDF', 'bad.pdf: the name must end in one of .txt, .txt.gz, .jso'),
])
def test_unusable_files_are_named(tmp_path, name, content, message):
  (tmp_path / name).write_bytes(content)
  with pytest.raises((ValueError, OSError), match=message):
    _documents(str(tmp_path / name))


def test_lines_are_counted_across_blocks(tmp_path, monkeypatch):
  monkeypatch.setattr(reader, 'BLOCK_BYTES', 64)
  (tmp_path / 'a.txt').write_bytes(b'a line\n\n' * 50 + b'\xff\n')
  with pytest.raises(ValueError, match='a.txt, line 101: not UTF-8'):
    _documents(str(tmp_path / 'a.txt'))


def test_patterns_without_files(tmp_path):
  with pytest.raises(ValueError, match="--input '.*none.*' matches no file"):
    reader.expand_inputs([str(tmp_path / 'none*.txt')])
  (tmp_path / 'folder.txt').mkdir()
  with pytest.raises(ValueError, match='folder.txt is a directory; give'):
    reader.expand_inputs([str(tmp_path / 'folder.txt')])


def test_a_json_record_without_end(tmp_path, monkeypatch):
  monkeypatch.setattr(reader, 'BLOCK_BYTES', 64)
  monkeypatch.setattr(reader, 'MAX_JSON_RECORD_BYTES', 1 << 20)
  (tmp_path / 'a.jsonl').write_text('{"text": "' + 'x' * (1 << 21))
  with pytest.raises(ValueError, match='a.jsonl, line 1: a JSON record of more than 1'):
    _documents(str(tmp_path / 'a.jsonl'))
