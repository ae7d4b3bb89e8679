"""Texts as clients send them: of all lengths, scripts and manners."""

import random

_WORDS = (
    'the function returns a list of values when its argument is not given and '
    'raises an error otherwise because no default was set for this option in '
    'the file that describes how models are trained exported and served').split()
_STRANGE = ('CAFÉ', 'naïve', '中文', 'привет', '🙂', 'ﬁx', '한국어', 'e\u0301tat',
            'x\u00a0y', '\u200bzero', '[MASK]', "it's", 'C++', '3.14', '#42')
# Words a text: most are short, some fill the model, a few are too long for it.
_LENGTHS = ((0.05, (0, 0)), (0.50, (3, 20)), (0.30, (20, 60)),
            (0.12, (60, 200)), (0.03, (400, 700)))


def mixed_texts(count: int, *, seed: int = 0,
                longest: int | None = None) -> list[str]:
  """Texts, always the same ones for a seed.

  Args:
    count: how many.
    seed: of the draws.
    longest: most words of a text; None is 700, which no BERT takes whole.
  """
  draw = random.Random(seed)
  shares, ranges = zip(*_LENGTHS)
  texts = []
  for _ in range(count):
    low, high = draw.choices(ranges, shares)[0]
    size = draw.randint(low, high)
    size = size if longest is None else min(size, longest)
    texts.append(' '.join(
        draw.choice(_STRANGE if draw.random() < 0.08 else _WORDS)
        for _ in range(size)))
  return texts
