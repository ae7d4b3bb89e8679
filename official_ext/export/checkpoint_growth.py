"""A checkpoint grown into a larger one, measured on the way."""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
from typing import Any

import numpy as np

from official_ext.analysis import growth_parity
from official_ext.analysis import parity_text
from official_ext.data.tokenizer import build_tokenizer
from official_ext.export.new_directory import new_directory
from official_ext.growth import Architecture
from official_ext.growth import describe_operators
from official_ext.growth import grow
from official_ext.growth import maps_between
from official_ext.growth import weight_growth_preserves
from official_ext.growth.named_weights import heads_in
from official_ext.modeling.checkpoint_weights import load_model
from official_ext.modeling.checkpoint_weights import write_model

GROWTH_FILE = 'growth.json'
# What no growth changes.
INHERITED = ('family', 'vocab_size', 'max_positions', 'type_vocab_size',
             'activation', 'norm_epsilon')


def grow_checkpoint(
    weights: Mapping[str, np.ndarray], source: Architecture,
    target: Architecture, output_dir: str, *, vocab_file: str,
    lower_case: bool = True, lines: Sequence[str] = parity_text.SENTENCES,
    width: str = 'fpi', depth: str = 'append', noise_scale: float = 0.1,
    seed: int = 0) -> dict[str, Any]:
  """Grows weights, compares both models on text and writes the larger one.

  Args:
    weights: canonical name to array, as `read_checkpoint` gives them.
    source: architecture of `weights`.
    target: what to grow into.
    output_dir: new; gets a checkpoint, architecture.json, vocab.txt and
      growth.json, which holds what is returned.
    vocab_file: vocabulary of the model.
    lower_case: whether its tokenizer lower-cases.
    lines: text to compare on.
    width: rule for new units, a name in `WIDTH_RULES`.
    depth: rule for new layers, a name in `DEPTH_RULES`.
    noise_scale: see `grow`.
    seed: of the growth and of the masks.

  Returns:
    JSON values: both architectures, what was done, what of it is exact by the
    rules' own maps, and the parity that was measured.

  Raises:
    ValueError: source cannot grow into target, the vocabulary does not fit, or
      `output_dir` is there already.
  """
  rules = dict(width=width, depth=depth)
  # Asked for first: refused before anything takes time.
  maps = maps_between(source, target, **rules, seed=seed)
  tokenizer = build_tokenizer(vocab_file, lower_case=lower_case)
  if len(tokenizer.vocabulary) != source.vocab_size:
    raise ValueError(
        f'{vocab_file} has {len(tokenizer.vocabulary)} pieces, the model '
        f"{source.vocab_size}; give the model's own vocab.txt as --vocab_file.")
  with new_directory(output_dir) as partial:
    grown = grow(weights, source, target, **rules, noise_scale=noise_scale,
                 seed=seed)
    length = min(source.sequence_length, parity_text.MAX_LENGTH)
    parity = growth_parity.measure(
        _whole_sequences(weights, source), _whole_sequences(grown, target), maps,
        parity_text.batches(lines, tokenizer, length=length, seed=seed),
        has_head=source.family == 'gpt' or heads_in(weights)['has_masked_lm'])
    record = {
        'width': width, 'depth': depth, 'noise_scale': noise_scale,
        'seed': seed, 'source': dataclasses.asdict(source),
        'target': dataclasses.asdict(target),
        'parameters_before': _count(weights), 'parameters_after': _count(grown),
        'operators': describe_operators(source, target, **rules),
        'exact': _exact(source, target, rules),
        'parity': {**dataclasses.asdict(parity),
                   'hidden_differences': list(parity.hidden_differences)},
    }
    write_model(partial, grown, target, vocab_file=vocab_file,
                lower_case=lower_case)
    with open(os.path.join(partial, GROWTH_FILE), 'w', encoding='utf-8') as file:
      json.dump(record, file, indent=2)
      file.write('\n')
  return record


def _whole_sequences(weights, architecture):
  """The model without pooled queries, which have no weights."""
  return load_model(weights, architecture.replace(query_pool_size=1))


def _count(weights: Mapping[str, np.ndarray]) -> int:
  return sum(array.size for array in weights.values())


def _exact(source: Architecture, target: Architecture, rules: dict[str, str]
           ) -> dict[str, bool]:
  """Whether each part of the growth, alone, preserves the function."""
  exact = {}
  wider = target.replace(
      num_layers=source.num_layers, query_pool_size=source.query_pool_size,
      sequence_length=source.sequence_length)
  if describe_operators(source, wider, **rules):
    exact['width'] = weight_growth_preserves(source, wider, **rules)
  if target.num_layers != source.num_layers:
    deeper = source.replace(num_layers=target.num_layers)
    exact['depth'] = weight_growth_preserves(source, deeper, **rules)
  if target.query_pool_size != source.query_pool_size:
    exact['length'] = False
  exact['whole'] = all(exact.values())
  return exact
