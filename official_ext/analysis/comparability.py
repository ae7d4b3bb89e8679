"""Whether two runs learn the same task, so that their losses mean the same."""

from collections.abc import Iterator
import dataclasses

from official_ext.analysis.run_summary import RunSummary


def differences(baseline: RunSummary, baseline_name: str, run: RunSummary,
                name: str) -> Iterator[str]:
  """Yields every reason why a run cannot be compared with a baseline.

  What may differ is what is compared: the schedule, the optimizer, the seed,
  the number of steps.

  Args:
    baseline: a run.
    baseline_name: how the reasons call it.
    run: another run.
    name: how the reasons call that one.
  """
  def unlike(what, value, baseline_value):
    if value != baseline_value:
      yield f'{what} is {value} in {name}, but {baseline_value} in {baseline_name}'

  yield from unlike('the vocabulary (SHA-256)',
                    _short(run.data.get('vocab_sha256')),
                    _short(baseline.data.get('vocab_sha256')))
  for split, what in (('train', 'the text that is trained on'),
                      ('eval', 'the held-out text')):
    shards, baseline_shards = (_shards(one, split) for one in (run, baseline))
    if shards != baseline_shards:
      yield (f'{what} is not the same in {name} and in {baseline_name} (the '
             f'hashes of {len(shards)} and {len(baseline_shards)} files of '
             'records differ)')
  target, baseline_target = (
      dataclasses.asdict(one.target) for one in (run, baseline))
  for field, value in target.items():
    yield from unlike(f"the target's {field}", value, baseline_target[field])
  yield from unlike('batch_size', run.batch_size, baseline.batch_size)
  yield from unlike('num_predictions', run.num_predictions,
                    baseline.num_predictions)
  yield from unlike('use_next_sentence', run.has_next_sentence,
                    baseline.has_next_sentence)
  eval_steps, baseline_eval_steps = (
      (one.last_held_out or {}).get('eval_steps') for one in (run, baseline))
  # Older runs do not say it.
  if None not in (eval_steps, baseline_eval_steps):
    yield from unlike('eval_steps', eval_steps, baseline_eval_steps)


def _short(sha256: str | None) -> str:
  return sha256[:12] if sha256 else 'unknown'


def _shards(run: RunSummary, split: str) -> list[str]:
  """Hashes of the records of whole sequences; other stages may have more."""
  length = str(run.target.max_positions)
  return run.data.get('splits', {}).get(length, {}).get(split, [])
