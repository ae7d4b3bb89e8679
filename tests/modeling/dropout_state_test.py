"""Masks of the right share, from few bits, on every device's branch."""

import numpy as np
import pytest
import tensorflow as tf, tf_keras

from official_ext.modeling import dropout_state


def _source(**options):
  return dropout_state.SharedDropout(
      tf.random.Generator.from_seed(7), **options)


@pytest.mark.parametrize('rate', [0.1, 0.5])
def test_the_share_of_zeros_is_the_rate(rate):
  is_kept, scale = _source().mask([501, 999], rate)
  # Five standard deviations.
  allowed = 5 * (rate * (1 - rate) / is_kept.numpy().size) ** 0.5
  assert np.mean(~is_kept.numpy()) == pytest.approx(rate, abs=allowed)
  assert scale == pytest.approx(1 / (1 - rate), rel=1e-5)


def test_neighbours_are_independent():
  # They come from halves of one word.
  kept = _source().mask([2, 100_000], 0.5).is_kept.numpy().astype(float)
  assert abs(np.corrcoef(kept[0, ::2], kept[0, 1::2])[0, 1]) < 0.025
  assert abs(np.corrcoef(kept[0], kept[1])[0, 1]) < 0.025


def test_what_is_kept_is_scaled_and_every_call_draws_anew():
  layer = tf_keras.layers.Dropout(0.25)
  model = tf_keras.Sequential([layer])
  x = tf.ones([3, 333])
  model(x)
  generator = tf.random.Generator.from_seed(1)
  assert dropout_state.share_generator(model, generator) == 1
  state = generator.state.numpy()
  first, second = (layer(x, training=True).numpy() for _ in range(2))
  assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
  assert (first != second).any()
  generator.state.assign(state)
  np.testing.assert_array_equal(layer(x, training=True), first)
  np.testing.assert_array_equal(layer(x, training=False), x)


def test_an_odd_number_of_decisions_takes_half_a_word_more():
  assert _source().mask([3, 5], 0.1).is_kept.shape == (3, 5)
  assert _source().mask([], 0.1).is_kept.shape == ()


def _masks_on_a_tpu(shape, rate):
  """Two masks in turn, as the compiler of the TPU gets them; here it is XLA's."""
  source = _source(for_tpu=True)
  scales = []

  @tf.function(jit_compile=True)
  def draw():
    masks = [source.mask(shape, rate) for _ in range(2)]
    scales.extend(mask.scale for mask in masks)
    return [mask.is_kept for mask in masks]

  return [is_kept.numpy() for is_kept in draw()], scales[0]


@pytest.mark.parametrize('rate, dropped', [
    (0.1, 26 / 256), (0.5, 0.5), (0.001, 1 / 256), (0.999, 255 / 256)])
def test_on_a_tpu_bytes_decide_and_the_mean_stays(rate, dropped):
  (first, second), scale = _masks_on_a_tpu([501, 999], rate)
  allowed = 5 * (dropped * (1 - dropped) / first.size) ** 0.5
  assert np.mean(~first) == pytest.approx(dropped, abs=allowed)
  assert scale * (1 - dropped) == pytest.approx(1, rel=1e-12)
  assert (first != second).any()


def test_on_a_tpu_attentions_masks_are_drawn_with_the_queries_last():
  (scores, _), _ = _masks_on_a_tpu([2, 3, 40, 50], 0.25)
  (drawn, _), _ = _masks_on_a_tpu([2 * 3 * 50, 40], 0.25)
  assert scores.shape == (2, 3, 40, 50)
  np.testing.assert_array_equal(
      scores, drawn.reshape(2, 3, 50, 40).swapaxes(-1, -2))


def test_masks_of_another_shape_are_refused():
  with pytest.raises(NotImplementedError, match='noise_shape is .*leave it out'):
    _source().dropout(tf.ones([2, 2]), 0.1, noise_shape=[2, 1])
