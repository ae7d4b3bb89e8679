"""Self-contained pages, all in one style: text, tables, embedded pictures."""

import base64
from collections.abc import Mapping
import os
from typing import Any

import jinja2
import tensorflow as tf

from official_ext.analysis import quantities


def render(template: str, **values: Any) -> str:
  """Fills a template of this folder; one that extends `page.html.jinja`.

  Args:
    template: file name.
    **values: what the template reads, beside the formats of `quantities`.
  """
  environment = jinja2.Environment(
      loader=jinja2.PackageLoader('official_ext.analysis', '.'),
      autoescape=True, undefined=jinja2.StrictUndefined,
      trim_blocks=True, lstrip_blocks=True)
  for function in (quantities.duration, quantities.percent, quantities.speedup,
                   quantities.three_digits, quantities.tiny,
                   quantities.with_prefix):
    environment.filters[function.__name__] = function
  environment.filters['thousands'] = '{:,}'.format
  return environment.get_template(template).render(**values)


def embedded(pictures: Mapping[str, bytes]) -> dict[str, str]:
  """PNG files as sources of images, by name without `.png`."""
  return {
      name.removesuffix('.png'):
          'data:image/png;base64,' + base64.b64encode(content).decode()
      for name, content in pictures.items()}


def write_files(directory: str, files: Mapping[str, bytes]) -> None:
  """Writes files into a directory, which may be remote, each at once."""
  tf.io.gfile.makedirs(directory)
  for name, content in files.items():
    path = os.path.join(directory, name)
    # A reader never sees half a page.
    with tf.io.gfile.GFile(path + '.partial', 'wb') as file:
      file.write(content)
    tf.io.gfile.rename(path + '.partial', path, overwrite=True)
