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
  is_kept = _source().is_kept([501, 999], rate)
  # Five standard deviations.
  allowed = 5 * (rate * (1 - rate) / is_kept.numpy().size) ** 0.5
  assert np.mean(~is_kept.numpy()) == pytest.approx(rate, abs=allowed)


def test_neighbours_are_independent():
  # They come from halves of one word.
  kept = _source().is_kept([2, 100_000], 0.5).numpy().astype(float)
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
  assert _source().is_kept([3, 5], 0.1).shape == (3, 5)
  assert _source().is_kept([], 0.1).shape == ()


@pytest.mark.parametrize('shape', [[40, 50], [2, 3, 40, 50]])
def test_on_a_tpu_whole_words_decide(shape):
  drawn = []

  def words(shape, seed):
    drawn.append(tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32))
    return drawn[-1]

  is_kept = _source(tpu_words=words).is_kept(shape, 0.25).numpy()
  wanted = drawn[0].numpy() >= 2**30
  if len(shape) == 4:
    # Attention's are drawn with the queries last.
    wanted = np.swapaxes(wanted, -1, -2)
  np.testing.assert_array_equal(is_kept, wanted)
  assert list(is_kept.shape) == shape


def test_masks_of_another_shape_are_refused():
  with pytest.raises(NotImplementedError, match='noise_shape is .*leave it out'):
    _source().dropout(tf.ones([2, 2]), 0.1, noise_shape=[2, 1])
