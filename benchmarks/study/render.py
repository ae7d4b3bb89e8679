"""Writes `docs/evidence.md`, its figures, and the tables, from the results.

No figure on the page is typed by hand: the template asks for results by the
name of their arm, and an arm that was not run yet is shown as such.
"""

from collections.abc import Mapping, Sequence
import csv
import io
import math
import pathlib
from typing import Any

import jinja2
from markupsafe import Markup

from benchmarks.study import arms as arms_lib
from benchmarks.study import figures
from benchmarks.study import results
from benchmarks.study import arm_results
from benchmarks.study.arm_results import ArmResult
from benchmarks.study.arm_results import Spread

_ROOT = pathlib.Path(__file__).parents[2]
PAGE = _ROOT / 'docs' / 'evidence.md'
README = _ROOT / 'README.md'
_BEGIN = '<!-- The next table: `python -m benchmarks.study render`. -->'
_END = '<!-- End of the table. -->'
_HEADLINE = ('bert/scratch', 'bert/stack', 'bert/compound_grow',
             'bert/compound_grow_k2')
IMAGES = _ROOT / 'docs' / 'images'
TABLE = pathlib.Path(__file__).parent / 'results.csv'
_TABLE_HEAD = (
    'arm', 'seeds', 'final loss (nats)', 'accuracy', 'FLOPs', "to the control's "
    'loss: FLOPs', 'saved', 'speed-up', 'speed-up, same restarts', 'processor s',
    "to the control's loss: processor s", 'tokens per parameter')
_TEMPLATE = pathlib.Path(__file__).parent / 'evidence.md.jinja'
NOT_RUN = 'not run yet'
_IN_THE_PAPER = {'lower': 'better', 'equal': 'as good',
                 'lower or equal': 'at least as good'}


def page(runs: Sequence[results.Record]) -> str:
  """The text of `docs/evidence.md`."""
  found = arm_results.summarise(arms_lib.ARMS.values(), runs)
  environment = jinja2.Environment(
      loader=jinja2.FileSystemLoader(_TEMPLATE.parent), trim_blocks=True,
      lstrip_blocks=True, undefined=jinja2.StrictUndefined,
      keep_trailing_newline=True, autoescape=True)
  planned = list(arms_lib.runs())
  done = {(run['arm'], run['seed']) for run in runs}
  return environment.get_template(_TEMPLATE.name).render(
      # The page is Markdown: what is made for it here is not escaped.
      table=lambda group: Markup(_table(group, found)),
      finetuning=lambda: Markup(_finetuning_table(found)),
      growths=lambda group: Markup(_growth_table(group, found)),
      compare=lambda one, other, name, paper='': Markup(compare(
          found.get(one), found.get(other), name, paper)),
      saving=lambda arm, control='scratch', other=None: Markup(saving(
          _against(found.get(arm), found.get(other)) if other
          else found.get(arm), control, found.get(other))),
      found=found,
      has=lambda *names: all(name in found for name in names),
      num_planned=len(planned),
      num_done=sum((arm.name, seed) in done for arm, seed in planned),
      machines=sorted({run['machine']['processor'] for run in runs}),
      commits=sorted({run['code']['commit'] for run in runs}),
      modified=any(run['code']['modified'] for run in runs))


def headline(runs: Sequence[results.Record]) -> str:
  """The table that README.md opens with."""
  found = arm_results.summarise(arms_lib.ARMS.values(), runs)
  rows = [('measured here', 'seeds', "FLOPs to scratch's final loss",
           'speed-up', 'final held-out loss')]
  for name in _HEADLINE:
    arm, result = arms_lib.ARMS[name], found.get(name)
    if result is None:
      rows.append((arm.label, '0', NOT_RUN, '', ''))
    elif name == arm.control:
      rows.append((arm.label, str(len(result.runs)), flops(result.flops), '',
                   spread(result.loss)))
    else:
      to_loss, _, speedup = _reached_cells(result)
      rows.append((arm.label, str(len(result.runs)), to_loss, speedup,
                   spread(result.loss)))
  return _markdown(rows)


def with_headline(readme: str, runs: Sequence[results.Record]) -> str:
  """README.md with its table of measured results brought up to date."""
  before, rest = readme.split(_BEGIN)
  _, after = rest.split(_END)
  return f'{before}{_BEGIN}\n{headline(runs)}\n{_END}{after}'


def write(runs: Sequence[results.Record]) -> list[pathlib.Path]:
  """Writes page, figures and the table of all runs; returns their paths."""
  found = arm_results.summarise(arms_lib.ARMS.values(), runs)
  PAGE.write_text(page(runs), encoding='utf-8')
  TABLE.write_text(_csv(found), encoding='utf-8')
  README.write_text(
      with_headline(README.read_text(encoding='utf-8'), runs), encoding='utf-8')
  return [PAGE, TABLE, README, *figures.draw(found, IMAGES)]


def spread(value: Spread | None, digits: int = 3) -> str:
  if value is None:
    return NOT_RUN
  text = f'{value.mean:.{digits}f}'
  return text if value.deviation is None else (
      f'{text} ± {value.deviation:.{digits}f}')


def flops(value: float) -> str:
  exponent = math.floor(math.log10(value))
  return f'{value / 10 ** exponent:.2f}e{exponent}'


def percent(share: float) -> str:
  return f'{100 * share:+.0f} %'


def _against(result: ArmResult | None, control: ArmResult | None
             ) -> ArmResult | None:
  if result is None or control is None:
    return None
  return arm_results.against(result, control)


def _named(*shown: ArmResult | None) -> str:
  """The arms and seeds that a sentence rests on, in brackets."""
  return ' (' + '; '.join(
      f'`{each.arm.name}` seed{"s" if len(each.runs) > 1 else ""} '
      + ', '.join(str(run['seed']) for run in each.runs)
      for each in shown if each is not None) + ')'


def saving(result: ArmResult | None, control: str,
           other: ArmResult | None = None) -> str:
  """What an arm saves, as the predicate of a sentence.

  Args:
    result: of the arm.
    control: what the sentence calls the control.
    other: the control, if it is not the arm's own.
  """
  if result is None or not result.reached:
    return f'is {NOT_RUN}'
  count, num_seeds = _num_reached(result), len(result.reached)
  if count < num_seeds:
    return (f"reaches {control}'s final loss in {count} of {num_seeds} seeds"
            + _named(result, other))
  return (f"reaches {control}'s final loss with "
          f'{100 * (1 - result.saved):.0f} % of its FLOPs '
          f'({percent(result.speedup)})' + _named(result, other))


def compare(one: ArmResult | None, other: ArmResult | None, name: str,
            paper: str = '') -> str:
  """How two arms' final losses compare, as the predicate of a sentence.

  Arms differ if their means are further apart than the larger of the two
  standard deviations.

  Args:
    one: the arm that is the subject.
    other: what it is compared with.
    name: what the sentence calls the other.
    paper: the paper's outcome: 'lower', 'equal', or 'lower or equal'. If empty,
      the sentence does not mention the paper.
  """
  if one is None or other is None:
    return f'is {NOT_RUN}'
  difference = one.loss.mean - other.loss.mean
  deviations = [each.loss.deviation for each in (one, other)]
  ends = (f'ends {abs(difference):.3f} nats '
          f'{"lower" if difference < 0 else "higher"} than {name}')
  if None in deviations:
    return f'{ends}{_named(one, other)}: a first look, with one seed'
  if abs(difference) <= max(deviations):
    outcome = 'equal'
    ends = (f'cannot be told apart from {name} ({difference:+.3f} nats, within '
            f'one standard deviation of {max(deviations):.3f})')
  else:
    outcome = 'lower' if difference < 0 else 'higher'
  agreement = '' if not paper else (
      ', as in the paper' if outcome in paper.split(' or ')
      else f', unlike the paper (there it is {_IN_THE_PAPER[paper]})')
  return ends + _named(one, other) + agreement


def _num_reached(result: ArmResult) -> int:
  return sum(crossed is not None for crossed in result.reached)


def _table(group: str, found: Mapping[str, ArmResult]) -> str:
  """The Markdown table of a group of arms."""
  rows = [_TABLE_HEAD]
  for arm in arms_lib.ARMS.values():
    if group not in arm.groups:
      continue
    result = found.get(arm.name)
    if result is None:
      rows.append((f'{arm.label} (`{arm.name}`)', f'0 of {arm.num_seeds}',
                   NOT_RUN, *('',) * (len(_TABLE_HEAD) - 3)))
      continue
    rows.append((
        f'{arm.label} (`{arm.name}`)', f'{len(result.runs)} of {arm.num_seeds}',
        spread(result.loss), _percentages(result.accuracy), flops(result.flops),
        *_reached_cells(result), _restarts_cell(arm, found),
        f'{result.seconds:.0f}',
        '' if arm.name == arm.control or result.seconds_to_loss is None
        else f'{result.seconds_to_loss.mean:.0f}',
        f'{result.tokens_per_parameter:.1f}'))
  return _markdown(rows)


def _percentages(value: Spread) -> str:
  return spread(Spread(100 * value.mean, value.deviation and
                       100 * value.deviation, value.count), 1) + ' %'


def _restarts_cell(arm: arms_lib.Arm, found: Mapping[str, ArmResult]) -> str:
  """The speed-up over scratch with the arm's restarts of the rate."""
  if arm.restarts is None:
    return ''
  if arm.restarts not in found:
    return NOT_RUN
  result = arm_results.against(found[arm.name], found[arm.restarts])
  return _reached_cells(result)[-1] or 'not by all seeds'


def _reached_cells(result: ArmResult) -> tuple[str, str, str]:
  if not result.reached:
    return ('control not run yet', '', '')
  if result.arm.name == result.arm.control:
    return ('', '', '')
  if result.flops_to_loss is None:
    return (f'reached by {_num_reached(result)} of {len(result.reached)} seeds',
            '', '')
  return (flops(result.flops_to_loss.mean),
          f'{100 * result.saved:.0f} %', percent(result.speedup))


def _finetuning_table(found: Mapping[str, ArmResult]) -> str:
  """Scores after fine-tuning, over all seeds of both trainings."""
  rows = [('arm', 'pre-trained', 'brown_prose, accuracy',
           'word_order, Matthews correlation')]
  for result in found.values():
    tuned = [run['finetuning'] for run in result.runs if 'finetuning' in run]
    if tuned:
      rows.append((result.arm.label, str(len(tuned)), *(
          spread(Spread.of(score for each in tuned
                           for score in each.get(task, ())))
          for task in ('brown_prose', 'word_order'))))
  return _markdown(rows) if len(rows) > 1 else f'({NOT_RUN})'


def _growth_table(group: str, found: Mapping[str, ArmResult]) -> str:
  rows = [('arm', 'step', 'growth', 'jump of the loss (nats)',
           'steps until recovered')]
  for result in found.values():
    if group not in result.arm.groups:
      continue
    for growth in result.growths:
      if not growth.operators:
        continue
      rows.append((
          result.arm.label, str(growth.step), ', '.join(growth.operators),
          spread(growth.jump),
          'not by all seeds' if growth.recovery_steps is None
          else f'{growth.recovery_steps.mean:.0f}'))
  return _markdown(rows) if len(rows) > 1 else f'({NOT_RUN})'


def _markdown(rows: Sequence[Sequence[str]]) -> str:
  head, *body = (f'| {" | ".join(row)} |' for row in rows)
  return '\n'.join([head, '|' + '---|' * len(rows[0]), *body])


def _csv(found: Mapping[str, ArmResult]) -> str:
  """One line per run."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow((
      'arm', 'seed', 'final_loss', 'final_accuracy', 'train_flops',
      'processor_seconds', 'flops_to_control_loss', 'parameters', 'tokens',
      'commit'))
  for result in found.values():
    reached: Sequence[Any] = result.reached or (None,) * len(result.runs)
    for run, crossed in zip(result.runs, reached):
      writer.writerow((
          run['arm'], run['seed'], run['final_loss'], run['final_accuracy'],
          f'{run["curve"][-1][1]:.6g}', run['curve'][-1][2],
          f'{crossed.flops:.6g}' if crossed else '', run['parameters'],
          run['tokens'], run['code']['commit']))
  return text.getvalue()
