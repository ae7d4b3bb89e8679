"""Times training steps that update a part of a BERT, against the full step.

    python benchmarks/sub_model_step.py [--base]

Expected: a step's time, as a share of the full step's, exceeds the share of
FLOPs by at most 0.1, for sub-models of every depth (bert2BERT, the uppermost
l_b blocks of each updated) and for the whole model with only its top l_b blocks
updated (MSLT). Prints a table; exits with 1 if a step is missed.

All steps are `tf.function`s of one model with one optimizer, and take turns, so
that whatever else the machine does falls on all of them. On a shared machine
look at the processor's time too; the verdict is on the time of the clock.
FLOPs are counted by hand, matrix products only: the optimizer, which is left
out, also falls with the number of updated weights, and clipping and the
embedding's gradient do not fall.
"""

import argparse
import os
import statistics
import sys
import time

ALLOWANCE = 0.1


def main() -> int:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--base', action='store_true',
                      help='BERT-base: 12 x 768 and 30522 pieces')
  parser.add_argument('--repeats', type=int, default=7,
                      help='timed steps of each kind (default: 7)')
  parser.add_argument('--layers', type=int, default=12)
  parser.add_argument('--hidden', type=int, default=256)
  parser.add_argument('--vocab_size', type=int, default=8192)
  parser.add_argument('--batch_size', type=int, default=8)
  parser.add_argument('--seq_length', type=int, default=128)
  parser.add_argument('--predictions', type=int, default=20)
  parser.add_argument('--sub_model_layers', type=int, default=3,
                      help='l_b (default: 3)')
  parser.add_argument('--jit_compile', action='store_true',
                      help='compile the steps with XLA')
  options = parser.parse_args()
  if options.base:
    options.hidden, options.vocab_size = 768, 30522
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

  from official_ext.analysis.flops import train_flops
  from official_ext.growth.architecture import Architecture
  whole = Architecture(
      num_layers=options.layers,
      hidden_size=options.hidden,
      num_heads=max(1, options.hidden // 64),
      inner_size=4 * options.hidden,
      vocab_size=options.vocab_size,
      max_positions=options.seq_length)
  trained = options.sub_model_layers
  parts = {'full': (options.layers, None)}
  parts |= {f'depth {depth}, top {trained}': (depth, trained)
            for depth in range(trained, options.layers + 1, trained)}
  flops = {
      name: train_flops(whole.replace(num_layers=depth), options.predictions,
                        options.batch_size, trained_layers=top)
      for name, (depth, top) in parts.items()}
  seconds, cpu_seconds = _measure(
      _steps(whole, parts, options), options.repeats)

  print(f'model {options.layers} x {options.hidden}, vocabulary '
        f'{options.vocab_size}, batch {options.batch_size}, '
        f'{options.seq_length} tokens, {options.predictions} predictions, XLA '
        f'{"on" if options.jit_compile else "off"}, {os.cpu_count()} CPUs')
  print(f'{"step":20s} {"median s":>9s} {"clock":>7s} {"processor":>10s} '
        f'{"FLOPs":>7s}  (shares of the full step)')
  missed = False
  for name in parts:
    shares = [statistics.median(times[name]) / statistics.median(times['full'])
              for times in (seconds, cpu_seconds)]
    expected = flops[name] / flops['full']
    is_met = shares[0] <= expected + ALLOWANCE
    missed |= not is_met
    print(f'{name:20s} {statistics.median(seconds[name]):9.3f} '
          f'{shares[0]:7.3f} {shares[1]:10.3f} {expected:7.3f}  '
          f'{"met" if is_met else "MISSED"}')
  print(f'depth {options.layers}, top {trained} is the step of MSLT; the mean of '
        'the depths is that of a run that draws them.')
  return int(missed)


def _steps(architecture, parts, options):
  """One compiled step for each part, all of one model."""
  from official.modeling.optimization import legacy_adamw
  import tensorflow as tf
  from official_ext import modeling
  from official_ext.modeling import weights
  model = modeling.GrowingBertPretrainer(architecture)
  model.compile(optimizer=legacy_adamw.AdamWeightDecay(
      1e-4, weight_decay_rate=0.01, epsilon=1e-6,
      exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias']))
  weights.create_moments(model.optimizer, model)
  batch = _batch(options)

  def step(num_layers, trained_layers):
    compiled = tf.function(
        lambda: model.train_part(batch, num_layers, trained_layers),
        jit_compile=options.jit_compile)

    def run():
      compiled()
      # Waits for the step.
      return model.optimizer.iterations.numpy()

    return run

  return {name: step(*part) for name, part in parts.items()}


def _measure(steps, repeats: int):
  """Runs the steps in turn; the first two rounds trace and warm up.

  Returns:
    Seconds of the clock and of the processor, each a list per step.
  """
  seconds = {name: [] for name in steps}
  cpu_seconds = {name: [] for name in steps}
  for round_ in range(-2, repeats):
    for name, step in steps.items():
      start, cpu_start = time.perf_counter(), time.process_time()
      step()
      elapsed = time.perf_counter() - start
      if round_ >= 0:
        seconds[name].append(elapsed)
        cpu_seconds[name].append(time.process_time() - cpu_start)
    print(f'  round {round_ + 1} of {repeats}', file=sys.stderr)
  return seconds, cpu_seconds


def _batch(options):
  """Random features in the shapes of Model Garden's pre-training data."""
  import numpy as np
  import tensorflow as tf
  random = np.random.default_rng(0)
  shape = (options.batch_size, options.seq_length)
  positions = np.stack([
      np.sort(random.choice(
          np.arange(1, options.seq_length), options.predictions, replace=False))
      for _ in range(options.batch_size)])
  return dict(
      input_word_ids=tf.constant(
          random.integers(0, options.vocab_size, shape), tf.int64),
      input_mask=tf.ones(shape, tf.int64),
      input_type_ids=tf.zeros(shape, tf.int64),
      masked_lm_positions=tf.constant(positions, tf.int64),
      masked_lm_ids=tf.constant(
          random.integers(0, options.vocab_size, positions.shape), tf.int64),
      masked_lm_weights=tf.ones(positions.shape),
      next_sentence_labels=tf.constant(
          random.integers(0, 2, (options.batch_size, 1)), tf.int64))


if __name__ == '__main__':
  sys.exit(main())
