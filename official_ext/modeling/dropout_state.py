"""One random generator for all the dropout of a model.

Keras draws dropout masks from the process's own random state, which no
checkpoint holds: a resumed run sees other masks than one that was never
stopped. Here every `Dropout` layer draws from one `tf.random.Generator`. Its
state is a variable: kept in checkpoints as an attribute of the model, one
stream per replica under a strategy, usable under XLA, and it lives on when
growth replaces the layers.
"""

import tensorflow as tf, tf_keras


def share_generator(
    model: tf_keras.Model, generator: tf.random.Generator) -> int:
  """Makes every dropout layer of a built model draw from `generator`.

  tf_keras has no public way to hand a generator to a layer that another layer
  creates; this is the only function that reaches into its random layers.

  Args:
    model: a model whose layers have been built.
    generator: created under the strategy that the model is trained with.

  Returns:
    How many dropout layers there are.
  """
  layers = [layer for layer in model.submodules
            if isinstance(layer, tf_keras.layers.Dropout)]
  for layer in layers:
    random_generator = layer._random_generator  # pylint: disable=protected-access
    # The layer stops asking for the process's state and does not create a
    # generator of its own.
    random_generator._rng_type = random_generator.RNG_STATEFUL  # pylint: disable=protected-access
    random_generator._generator = generator  # pylint: disable=protected-access
    random_generator._built = True  # pylint: disable=protected-access
  return len(layers)
