"""The page that the study's results are rendered to."""

import re

from benchmarks.study import arm_results
from benchmarks.study import arms
from benchmarks.study import figures
from benchmarks.study import render
from benchmarks.study import results
from tests.study import samples


def test_fine_tuning_is_in_the_page():
  run = samples.make_run('bert/scratch', curve=samples.CURVE, steps=(300,))
  assert 'After fine-tuning' in render.page([run])
  run['finetuning'] = {'brown_prose': [0.8, 0.9], 'word_order': [0.25]}
  page = render.page([run])
  assert '| scratch | 1 | 0.850 ± 0.071 | 0.250 |' in page


def test_a_page_without_results_says_so():
  page = render.page([])
  assert f'**0 of {len(list(arms.runs()))} planned runs are complete.**' in page
  assert render.NOT_RUN in page


def test_sentences_follow_the_numbers():
  def finished(arm, losses):
    return [samples.make_run(arm, seed, steps=(300,), curve=(
        (150, 4e10, 40.0, 5.5, 0.1), (300, 8e10, 80.0, loss, 0.2)))
            for seed, loss in enumerate(losses)]

  def compare(one, other):
    found = arm_results.summarise(
        arms.ARMS.values(),
        finished('bert/stack', one) + finished('bert/scratch', other))
    return render.compare(
        found['bert/stack'], found['bert/scratch'], 'scratch')

  assert 'nats lower than scratch' in compare([4.0, 4.1], [4.5, 4.6])
  assert 'nats higher than scratch' in compare([4.5, 4.6], [4.0, 4.1])
  assert 'cannot be told apart' in compare([4.0, 4.4], [4.1, 4.2])
  assert 'one seed' in compare([4.0], [4.5, 4.6])


def test_restarts_have_a_baseline_of_their_own():
  def finished(arm, loss, **more):
    return [samples.make_run(arm, seed, steps=(300,), curve=(
        (150, 2e10, 20.0, 5.0, 0.1), (300, 4e10, 40.0, loss + seed / 100, 0.2)),
        **more) for seed in (0, 1)]

  runs = finished('bert/scratch', 4.4) + finished('bert/stack', 4.0)
  # The same row in two tables.
  row, = {line for line in render.page(runs).splitlines()
          if line.startswith('| stack (`bert/stack`) | 2 of 5 | 4.005 ± 0.007 ')}
  cells = [cell.strip() for cell in row.split('|')]
  assert cells[4] == '20.0 ± 0.0 %'
  # 4.405 is reached 0.595 or 0.595 / 0.99 of the way between 2e10 and 4e10.
  assert (cells[6], cells[8], cells[9], cells[11]) == (
      '3.20e10', '+25 %', render.NOT_RUN, '32')
  runs += finished('bert/scratch_restarts_stack', 3.9)
  page = render.page(runs)
  assert '| +25 % | not by all seeds |' in page
  assert ("it reaches that control's final loss in 0 of 2 seeds (`bert/stack` seeds "
          '0, 1; `bert/scratch_restarts_stack` seeds 0, 1)') in page


def test_sentences_say_whether_the_paper_found_the_same():
  def page(pooling, truncation):
    return render.page([
        samples.make_run(arm, seed, steps=(300,), curve=(
            (300, 4e10, 40.0, loss + seed / 100, 0.2),))
        for arm, loss in (('bert/table1_pooling', pooling),
                          ('bert/table1_truncation', truncation))
        for seed in (0, 1)])

  assert 'than data truncation' in page(4.0, 4.5)
  assert 'seeds 0, 1), as in the paper' in page(4.0, 4.5)
  assert 'seeds 0, 1), as in the paper' in page(4.0, 4.005)
  assert 'unlike the paper (there it is at least as good)' in page(4.5, 4.0)


def test_a_whole_study_is_rendered(tmp_path):
  runs = [
      samples.make_run(
          arm.name, seed, curve=samples.CURVE, growths=[samples.GROWTH],
          finetuning={'brown_prose': [0.8], 'word_order': [0.2]})
      for arm, seed in arms.runs()]
  page = render.page(runs)
  # Only where it says how to read the page.
  assert page.count(render.NOT_RUN) == 1
  found = arm_results.summarise(arms.ARMS.values(), runs)
  drawn = figures.draw(found, tmp_path)
  assert {f'images/{path.name}' for path in drawn} == set(
      re.findall(r'\((images/[^)]*)\)', page))


def test_the_page_is_that_of_the_committed_results():
  runs = results.read(results.PATH)
  assert render.PAGE.read_text(encoding='utf-8') == render.page(runs)
  readme = render.README.read_text(encoding='utf-8')
  assert render.with_headline(readme, runs) == readme
