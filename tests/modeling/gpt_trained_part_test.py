"""A part of a GPT is run and trained: MSLT, and bert2BERT's sub-models."""

import numpy as np
import pytest
import tensorflow as tf

from official_ext.modeling import weights
from tests.growth import numpy_gpt
from tests.modeling import tiny_bert
from tests.modeling import tiny_gpt

ARCHITECTURE = tiny_gpt.PLAIN.replace(num_layers=3)
# The word embedding as decoder, and what stands before it.
HEAD = {'embeddings/word', 'final_norm/gamma', 'final_norm/beta'}


def _model(architecture=ARCHITECTURE):
  return tiny_gpt.pretrainer(architecture, **tiny_gpt.NO_DROPOUT)


def _step(model, seed=0):
  """One step; returns its loss and the names of what it changed."""
  before = weights.read_weights(model)
  batch = tiny_gpt.features(seed=seed)
  logs = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
  after = weights.read_weights(model)
  changed = {name for name in after if (after[name] != before[name]).any()}
  return logs['loss'][0], changed, before, batch['input_word_ids'].numpy()


def _blocks(*layers):
  model_names = weights.named_variables(_model())
  return {name for name in model_names for layer in layers
          if name.startswith(f'layer_{layer}/')}


# Of one step, tracing takes most of the time.
@pytest.mark.parametrize('trained_layers, run_eagerly', [
    (1, True), (2, False), (3, True)])
def test_only_the_upper_blocks_and_the_head_are_updated(
    trained_layers, run_eagerly):
  model = _model()
  model.compile(optimizer=tiny_bert.adamw(), run_eagerly=run_eagerly)
  model.set_trained_part(trained_layers=trained_layers)
  loss, changed, before, rows = _step(model)
  assert changed == HEAD | _blocks(*range(3 - trained_layers, 3))
  # All blocks are run, whatever is trained of them.
  assert loss == pytest.approx(
      numpy_gpt.rows_loss(before, ARCHITECTURE, rows), rel=1e-5)
  model.set_trained_part()
  assert _step(model)[1] == set(before)


@pytest.mark.parametrize('jit_compile', [False, True])
def test_a_sub_model_is_run_and_its_upper_block_updated(jit_compile):
  model = _model()
  model.compile(optimizer=tiny_bert.adamw(), jit_compile=jit_compile)
  model.set_trained_part(sub_model_layers=1)
  seen = set()
  for step in range(8):
    depth = int(model.drawn_depth(step))
    loss, changed, before, rows = _step(model, step)
    assert changed == HEAD | _blocks(depth - 1)
    assert loss == pytest.approx(
        numpy_gpt.rows_loss(before, ARCHITECTURE, rows, num_layers=depth),
        rel=1e-4)
    seen.add(depth)
  assert seen == {1, 2, 3}


def test_two_replicas_draw_one_depth(mirrored):
  start = None
  results = []
  for strategy in (tf.distribute.get_strategy(), mirrored):
    with strategy.scope():
      model = _model(tiny_gpt.PLAIN)
      model.compile(optimizer=tiny_bert.adamw(1e-3))
    start = start or weights.read_weights(model)
    weights.write_weights(model, start)
    model.set_trained_part(sub_model_layers=1)
    for step in range(4):
      _step(model, step)
    results.append(weights.read_weights(model))
  for name, value in results[0].items():
    np.testing.assert_allclose(
        results[1][name], value, atol=1e-4, err_msg=name)
