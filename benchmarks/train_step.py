"""Times one BERT-base training step: treated, plain, and hand-written stock.

    python benchmarks/train_step.py

Expected: the fully treated 12-layer stage (FFN sharing 4, pooled queries of 2)
takes at most 0.42 of the plain stage's time, and the plain stage at most 1.05
of a step written by hand from Model Garden's classes. Prints both ratios of
medians; exits with 1 if one is missed.

All three run the same optimizer on the same batch (4 sequences of 512 tokens,
76 predictions) in a `tf.function`, and take turns, so that whatever else the
machine does falls on all of them. On a shared machine look at the ratios of
processor time too; the verdict is on the time of the clock.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import time

TREATED_LIMIT = 0.42
STOCK_LIMIT = 1.05


def main() -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--repeats', type=int, default=5,
                      help='timed steps of each model (default: 5)')
  parser.add_argument('--layers', type=int, default=12)
  parser.add_argument('--hidden', type=int, default=768)
  parser.add_argument('--batch_size', type=int, default=4)
  parser.add_argument('--seq_length', type=int, default=512)
  parser.add_argument('--predictions', type=int, default=76)
  parser.add_argument('--vocab_size', type=int, default=30522)
  parser.add_argument('--ffn_sharing', type=int, default=4)
  parser.add_argument('--query_pool_size', type=int, default=2)
  parser.add_argument('--jit_compile', action='store_true',
                      help='compile all three with XLA')
  options = parser.parse_args()
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

  from official_ext.growth.architecture import Architecture
  plain = Architecture(
      num_layers=options.layers,
      hidden_size=options.hidden,
      num_heads=options.hidden // 64,
      inner_size=4 * options.hidden,
      vocab_size=options.vocab_size,
      max_positions=options.seq_length)
  treated = plain.replace(
      ffn_sharing=options.ffn_sharing, query_pool_size=options.query_pool_size)
  import steps
  batch = steps.batch_of(options.batch_size, options.seq_length,
                         options.predictions, options.vocab_size)
  stock, inputs = (steps.stock_step(plain, options.jit_compile),
                   steps.stock_inputs(batch))
  seconds, cpu_seconds = measure({
      'treated': steps.our_step(treated, batch, options.jit_compile),
      'plain': steps.our_step(plain, batch, options.jit_compile),
      'stock': lambda: stock(inputs, batch),
  }, options.repeats)

  print(f'machine: {steps.machine()}')
  print(f'model: {dataclasses.asdict(plain)}')
  print(f'batch {options.batch_size}, {options.seq_length} tokens, '
        f'{options.predictions} predictions, XLA '
        f'{"on" if options.jit_compile else "off"}')
  medians = {name: statistics.median(times) for name, times in seconds.items()}
  cpu_medians = {
      name: statistics.median(times) for name, times in cpu_seconds.items()}
  for name, times in seconds.items():
    print(f'{name:8s} median {medians[name]:.3f} s, '
          f'range {min(times):.3f} to {max(times):.3f} s, processor '
          f'{cpu_medians[name]:.3f} s')
  ratios = [
      ('treated', 'plain', TREATED_LIMIT), ('plain', 'stock', STOCK_LIMIT)]
  missed = False
  for name, other, limit in ratios:
    ratio = medians[name] / medians[other]
    missed |= ratio > limit
    print(f'{name} / {other}: {ratio:.3f} (at most {limit}) '
          f'{"met" if ratio <= limit else "MISSED"}; processor time '
          f'{cpu_medians[name] / cpu_medians[other]:.3f}')
  return int(missed)


def measure(calls, repeats: int):
  """Runs the steps in turn; the first, tracing round does not count.

  Returns:
    Seconds of the clock and of the processor, each a list per step.
  """
  seconds = {name: [] for name in calls}
  cpu_seconds = {name: [] for name in calls}
  for round_ in range(repeats + 1):
    for name, step in calls.items():
      start, cpu_start = time.perf_counter(), time.process_time()
      loss = float(step())
      elapsed = time.perf_counter() - start
      if round_:
        seconds[name].append(elapsed)
        cpu_seconds[name].append(time.process_time() - cpu_start)
      print(f'  {name}: {elapsed:.2f} s, loss {loss:.3f}'
            f'{"" if round_ else " (with tracing)"}', file=sys.stderr)
  return seconds, cpu_seconds


if __name__ == '__main__':
  sys.exit(main())
