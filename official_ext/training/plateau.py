"""The unigram level, where a model that is stuck stays.

A BERT or GPT first learns how often each token occurs. Its loss then stays near
the cross entropy of these frequencies until attention finds the tokens that
say something about a missing one; a small model may never get further.
"""

from collections.abc import Mapping

from official_ext.data.manifest import Unigram

# A loss within so many nats of the unigram level has hardly left it.
NEAR_NATS = 0.3
REMEDIES = (
    'what helps: shorter sequences, more tokens per step, a smaller vocabulary, '
    'a higher peak_learning_rate (many recipes with beta_2 = 0.98), '
    "position_initializer = 'sinusoidal', text without repetitions "
    '(docs/stuck_loss.md)')


def language_model_loss(metrics: Mapping[str, float]) -> float:
  """The loss over tokens alone, without next-sentence prediction."""
  for name in ('masked_lm_loss', 'causal_lm_loss'):
    if name in metrics:
      return metrics[name]
  return metrics['loss']


def is_near(loss: float, unigram: Unigram) -> bool:
  """Whether a held-out loss over tokens is still at the unigram level."""
  return loss > unigram.cross_entropy - NEAR_NATS


def describe_level(unigram: Unigram) -> str:
  return (f'unigram level: {unigram.cross_entropy:.3f} nats, the held-out loss '
          'of a model that knows token frequencies and nothing else')


def warning(metrics: Mapping[str, float], unigram: Unigram | None
            ) -> str | None:
  """What to say of held-out metrics at the unigram level; None if nothing.

  Args:
    metrics: of an evaluation.
    unigram: of the data; None if it is not known.
  """
  if unigram is None:
    return None
  loss = language_model_loss(metrics)
  if not is_near(loss, unigram):
    return None
  return (f'the held-out loss over tokens, {loss:.3f} nats, is not yet '
          f'{NEAR_NATS} below the unigram level ({unigram.cross_entropy:.3f}): '
          'the model has learnt little except how often each token occurs; '
          f'{REMEDIES}')
