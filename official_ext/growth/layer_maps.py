"""Which source layer feeds each target layer: one table of rules."""

from collections.abc import Callable

from official_ext.growth.errors import GrowthError


def append_layers(num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """Stacking (Gong et al., 2019): target layer i copies `i mod num_layers`."""
  return tuple(layer % num_layers for layer in range(new_num_layers))


def top_layers(num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """Whole stacks, then the remainder from the top.

  bert2BERT stacks `new_num_layers // num_layers` times and takes the rest from
  the top layers. With fewer new layers than old ones this is MSLT (Yang et al.,
  2020): copies of the top m layers are put on top.
  """
  stacks, remainder = divmod(new_num_layers, num_layers)
  return (tuple(range(num_layers)) * stacks
          + tuple(range(num_layers - remainder, num_layers)))


# A new rule (interleaving, middle stacking) is one function and one line.
DEPTH_RULES: dict[str, Callable[[int, int], tuple[int, ...]]] = {
    'append': append_layers,
    'top': top_layers,
}


def depth_rule_mistake(depth: str) -> str | None:
  """Says what is wrong with the name of a depth rule; None if nothing is."""
  if depth in DEPTH_RULES:
    return None
  return f'depth {depth!r} is unknown; choose one of {sorted(DEPTH_RULES)}'


def layer_map(
    depth: str, num_layers: int, new_num_layers: int) -> tuple[int, ...]:
  """Source layer of each target layer.

  Raises:
    GrowthError: if the rule is unknown or the number of layers shrinks.
  """
  mistakes = [depth_rule_mistake(depth)]
  if new_num_layers < num_layers:
    mistakes.append(
        f'num_layers shrinks from {num_layers} to {new_num_layers}; give at '
        f'least {num_layers}')
  mistakes = [mistake for mistake in mistakes if mistake]
  if mistakes:
    raise GrowthError.of(mistakes)
  return DEPTH_RULES[depth](num_layers, new_num_layers)
