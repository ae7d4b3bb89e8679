"""Adds to a lock, beside each requirement with extras, the one without.

pip, where it checks hashes, takes `name[extra]==1` for another requirement than
`name==1`, and asks for a pin of whichever a package names.

    python tools/add_plain_requirements.py requirements.lock
"""

import pathlib
import re
import sys


def with_plain_requirements(lock: str) -> str:
  """The text of a lock with both forms of every requirement that has extras."""
  entries = []
  for entry in re.split(r'\n(?=\S)', lock.strip()):
    plain = re.sub(r'^([a-z0-9-]+)\[[^\]]*\]', r'\1', entry)
    entries += [plain] if plain == entry else [plain, entry]
  return '\n'.join(dict.fromkeys(entries)) + '\n'


if __name__ == '__main__':
  path = pathlib.Path(sys.argv[1])
  path.write_text(with_plain_requirements(path.read_text()))
