"""A growth as a table: what there was, what there is, what stayed the same."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from official_ext.analysis.quantities import tiny
from official_ext.growth import Architecture
from official_ext.growth import DEPTH_RULES
from official_ext.growth import WIDTH_RULES

# Differences of a growth that is exact are those of float32 sums in another
# order, relative to the largest number compared.
_ROUNDING = 1e-4
_YES_OR_NO = {True: 'exact', False: 'not exact'}
_ROWS = {
    'layers': lambda model: str(model.num_layers),
    'hidden size': lambda model: str(model.hidden_size),
    'heads': lambda model: f'{model.num_heads} of {model.head_size}',
    'inner units': lambda model: str(model.stored_inner_size),
    'LayerNorm': lambda model: (
        'ordinary' if model.norm_source_size is None
        else f'of {model.norm_source_size}'),
}


def sides(source: Architecture, target: Architecture) -> list[str]:
  """Both architectures, a line a field, those that differ marked."""
  rows = [(name, *map(str, values), '' if values[0] == values[1] else '*')
          for name, values in (
              (field.name, [getattr(side, field.name) for side in (source, target)])
              for field in dataclasses.fields(Architecture))]
  return _columns([('', 'source', 'target', ''), *rows])


def growth_lines(record: Mapping[str, Any]) -> list[str]:
  """What `grow_checkpoint` returned, for people."""
  source, target = (Architecture(**record[side]) for side in ('source', 'target'))
  parity = record['parity']
  rows = [('', 'before', 'after'), *(
      (name, value(source), value(target)) for name, value in _ROWS.items())]
  rows.append(('parameters', f'{record["parameters_before"]:,}',
               f'{record["parameters_after"]:,}'))
  kind = 'causal' if source.family == 'gpt' else 'masked'
  if parity['loss_before'] is not None:
    rows.append((f'{kind}-LM loss', f'{parity["loss_before"]:.4f}',
                 f'{parity["loss_after"]:.4f}'))
  lines = _columns(rows)
  lines += ['', 'grown: ' + '; '.join(record['operators'])]
  lines += _declared(record)
  lines += _measured(record)
  return lines + _notes(source, target, record)


def _declared(record: Mapping[str, Any]) -> list[str]:
  """What is exact, by what the rules say of themselves."""
  rules = {'width': WIDTH_RULES[record['width']],
           'depth': DEPTH_RULES[record['depth']]}
  lines = []
  for part, rule in rules.items():
    if part in record['exact']:
      lines.append(
          f'{part}: {_YES_OR_NO[record["exact"][part]]} ({record[part]} '
          f'{rule.preserves})')
  if 'length' in record['exact']:
    lines.append('length: not exact; queries are pooled no more')
  return lines


def _measured(record: Mapping[str, Any]) -> list[str]:
  parity = record['parity']
  where = f'on {parity["rows"]} rows'
  lines = []
  if parity['logit_difference'] is not None:
    where += f', {parity["predictions"]} predictions'
    lines.append(
        f'largest logit difference: {tiny(parity["logit_difference"])} (logits '
        f'up to {tiny(parity["largest_logit"])})')
  else:
    lines.append('no masked-LM head, so only hidden states are compared')
  kept = parity['hidden_differences']
  if kept:
    lines.append(
        'hidden states against the duplicated ones: '
        f'{tiny(max(kept))} at most after the lowest {len(kept)} layers')
  lines.append(
      f'last hidden states: {tiny(parity["last_hidden_difference"])} at most '
      f'(up to {tiny(parity["largest_hidden"])})')
  if record['exact']['whole'] and not _is_rounding(parity):
    lines.append(
        'This growth should be exact, and is not: please report it, with '
        'growth.json.')
  return [f'measured {where}:', *(f'  {line}' for line in lines)]


def _is_rounding(parity: Mapping[str, Any]) -> bool:
  bounds = [(parity['last_hidden_difference'], parity['largest_hidden'])]
  if parity['logit_difference'] is not None:
    bounds.append((parity['logit_difference'], parity['largest_logit']))
  return all(difference <= _ROUNDING * max(1.0, largest)
             for difference, largest in bounds)


def _notes(source: Architecture, target: Architecture,
           record: Mapping[str, Any]) -> list[str]:
  notes = []
  if target.hidden_size % source.hidden_size and (
      target.norm_source_size is None):
    notes.append(
        f'hidden_size {target.hidden_size} is no multiple of '
        f'{source.hidden_size}: some units count more often than others in the '
        f"LayerNorms, and {record['width']} as published changes the function as "
        'measured; fpi with --weighted_norm keeps it.')
  if target.norm_source_size is not None:
    notes.append(
        f'The LayerNorms keep the statistics of {target.norm_source_size} units, '
        'which architecture.json says; a stage with weighted_norm takes them to '
        'ordinary ones in training.')
  if record['noise_scale'] == 0 and record['exact'].get('width'):
    notes.append('Without noise, copies of a unit never separate in training.')
  return notes


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
  """Rows with their cells in line, the first column to the left."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  return [
      '  '.join([row[0].ljust(widths[0])] + [
          cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()
      for row in rows]
