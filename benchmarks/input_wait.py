"""How long a training step waits for its input.

    python benchmarks/input_wait.py                # BERT base, batch 4 x 512, this CPU
    python benchmarks/input_wait.py --tiny         # the reading itself, by a small model

Prepares the embedded corpus (or --data_dir), trains from `PretrainLoader` for
some steps, and prints the share of their time that went into `next()`: value
and goal. The records come from the disk, in the order of training.
"""

import argparse
import itertools
import statistics
import tempfile
import time

from official_ext.command import quieten

GOAL = 0.02


def prepared(folder: str, seq_length: int) -> str:
  """Some of the embedded corpus, as `prepare` makes it."""
  from official_ext.data import build
  from official_ext.data.settings import PrepareSettings
  build.prepare(folder, settings=PrepareSettings(
      seq_length=seq_length, max_predictions_per_seq=-(-seq_length * 15 // 100),
      max_input_bytes=6 << 20, vocab_size=8192), num_workers=2, say=lambda _: None)
  return folder


def main() -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--data_dir', help='default: made of the embedded corpus')
  parser.add_argument('--batch_size', type=int, default=4)
  parser.add_argument('--seq_length', type=int, default=512)
  parser.add_argument('--num_steps', type=int, default=20)
  parser.add_argument('--tiny', action='store_true')
  flags = parser.parse_args()
  quieten()
  with tempfile.TemporaryDirectory() as folder:
    measure(flags, flags.data_dir or prepared(folder, flags.seq_length))


def measure(flags: argparse.Namespace, data_dir: str) -> None:
  """Trains, and prints what the steps waited."""
  import tensorflow as tf
  import tensorflow_models  # pylint: disable=unused-import
  import tf_keras
  from official_ext.data.loader import BatchSlice
  from official_ext.data.loader import PretrainLoader
  from official_ext.data.manifest import Manifest
  from official_ext.growth import Architecture
  from official_ext.modeling import build_pretrainer

  manifest = Manifest.read(data_dir)
  shape = (dict(num_layers=2, hidden_size=128, num_heads=2, inner_size=512)
           if flags.tiny else
           dict(num_layers=12, hidden_size=768, num_heads=12, inner_size=3072))
  model = build_pretrainer(Architecture(
      **shape, vocab_size=manifest.vocab_size, max_positions=manifest.seq_length))
  model.compile(optimizer=tf_keras.optimizers.Adam(1e-4))
  batches = PretrainLoader(data_dir, manifest).training_batches(
      BatchSlice(flags.batch_size), seed=0)
  step = tf.function(model.train_step)
  iterator = iter(batches)
  for batch in itertools.islice(iterator, 2):  # Traces and fills the buffers.
    step(batch)
  waits, steps = [], []
  for _ in range(flags.num_steps):
    start = time.perf_counter()
    batch = next(iterator)
    waits.append(time.perf_counter() - start)
    logs = step(batch)
    tf.nest.map_structure(lambda value: value.numpy(), logs)
    steps.append(time.perf_counter() - start)
  share = sum(waits) / sum(steps)
  name = 'tiny' if flags.tiny else 'base'
  print(f'{name}, batch {flags.batch_size} x {manifest.seq_length}, '
        f'{flags.num_steps} steps of {statistics.median(steps):.3f} s: waiting '
        f'{1e3 * statistics.median(waits):.2f} ms (median), '
        f'{1e3 * max(waits):.2f} ms (most)')
  print(f'waiting for input: {share:.2%} of step time / goal: under {GOAL:.0%}: '
        f'{"reached" if share < GOAL else "missed"}')


if __name__ == '__main__':
  main()
