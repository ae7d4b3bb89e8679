"""What gin bindings say together, checked before gin sees them.

gin accepts a misspelled macro without a word, notices an undefined one only
when it is used, and stops at the first error. Here everything is looked at
first; what is sound can then be bound. gin also lets a file name whatever is
registered in the process, its own `gin.singleton` among it, which calls what it
is given; here there is nothing but what the caller offers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import inspect
import re
from typing import Any

import gin

from official_ext.gin_source import Binding
from official_ext.gin_source import Source
from official_ext.gin_statements import Macro
from official_ext.gin_statements import Reference
from official_ext.gin_statements import references
from official_ext.mistakes import did_you_mean

_REQUIRED = 'gin.REQUIRED'
# A few macros within each other can stand for more values than fit in memory.
MAX_REFERENCES = 10_000
# Whatever follows a macro calls itself.
MAX_CHAIN = 20


class GinBindings:
  """The parameters and macros of a source; of several bindings the last wins.

  Attributes:
    mistakes: one line each, in the order in which they were found.
    dropped: (full selector, parameter) of settings that could not be used:
      unreadable, or misspelled as far as one can tell. To say that they are
      missing would only repeat that.
    sound_references: those that `examine` came across and that can be built.
  """

  def __init__(self, source: Source, later: Sequence[Binding],
               configurables: Mapping[str, Callable[..., Any]], module: str):
    """Looks for unknown names and unused macros.

    Args:
      source: what was read.
      later: bindings that win over those of the source.
      configurables: name to function or class, registered with gin in `module`.
      module: their gin module.
    """
    self.mistakes: list[str] = []
    self.sound_references: list[Reference] = []
    self._configurables = configurables
    self._module = module
    self._is_complete = source.is_complete
    self._unreadable = source.unreadable
    self.dropped: set[tuple[str, str]] = set()
    self._num_examined = 0
    for name in source.unreadable:
      selector, _, parameter = name.rpartition('.')
      self.dropped.add((f'{module}.{selector}', parameter))
    self._macros: dict[str, Binding] = {}
    # By (scope, full selector), then by parameter.
    self._parameters: dict[tuple[str, str], dict[str, Binding]] = {}
    bindings = [*source.bindings, *later]
    for binding in bindings:
      self._refuse_strangers(binding)
      if binding.parameter:
        self._add_parameter(binding)
      else:
        name = '/'.join(filter(None, (binding.scope, binding.selector)))
        self._macros[name] = binding
    if source.is_complete:
      self._find_unused_macros(bindings)

  def of(self, selector: str, scope: tuple[str, ...] = ()
         ) -> Mapping[str, Binding]:
    """The bindings that a call sees: first the unscoped, then narrower ones."""
    seen = {}
    for end in range(len(scope) + 1):
      seen |= self._parameters.get(('/'.join(scope[:end]), selector), {})
    return seen

  def origin(self, binding: Binding) -> Binding:
    """The binding that holds the value itself: macros are followed.

    Only for bindings that `examine` found sound.
    """
    while isinstance(binding.value, Macro):
      binding = self._macros[binding.value.name]
    return binding

  def examine(self, binding: Binding, user: str) -> bool:
    """Looks for mistakes in all that a value refers to, directly or not.

    Args:
      binding: of a parameter.
      user: the parameter's name, for messages.

    Returns:
      Whether the value can be built; if not, `mistakes` or `dropped` say why.
    """
    return self._examine(binding.value, user, binding.place, (), ())

  def find_missing(self, selector: str, scope: tuple[str, ...] = ()) -> bool:
    """Notes the parameters without default that no binding gives.

    Returns:
      Whether all are given.
    """
    if not self._is_complete:
      return True
    target = self.look_up(selector).wrapped
    bound = self.of(selector, scope)
    short = '/'.join([*scope, selector.removeprefix(f'{self._module}.')])
    is_whole = True
    for name, parameter in inspect.signature(target).parameters.items():
      if (parameter.default is not parameter.empty or name in bound
          or parameter.kind in (parameter.VAR_POSITIONAL,
                                parameter.VAR_KEYWORD)):
        continue
      is_whole = False
      if (selector, name) not in self.dropped:
        self.mistakes.append(
            f'{short}.{name} is missing; set it in a gin file or with '
            f'--gin_params "{short}.{name} = …"')
    return is_whole

  def blame(self, value: Any, message: str) -> str:
    """Where the parameters stand whose name and value a message mentions."""
    places = []
    for name, bound in self._below(value, ()):
      for parameter, inner in bound.items():
        origin = self.origin(inner)
        if (re.search(rf'\b{re.escape(parameter)}\b', message)
            and repr(origin.value) in message):
          places.append(f'{name}.{parameter} in {origin.place}')
    return f' ({", ".join(dict.fromkeys(places))})' if places else ''

  def bind(self) -> None:
    """Hands everything to gin."""
    for name, binding in self._macros.items():
      gin.bind_parameter((name, 'gin.macro', 'value'),
                         self.gin_value(binding.value))
    for (scope, selector), bindings in self._parameters.items():
      for name, binding in bindings.items():
        gin.bind_parameter((scope, selector, name),
                           self.gin_value(binding.value))

  def gin_value(self, value: Any) -> Any:
    """The value with gin's own references in it."""
    if isinstance(value, Macro):
      return gin.config.ParserDelegate().macro(value.name)
    if isinstance(value, Reference):
      if self.look_up(value.name.split('/')[-1]) is None:
        return None  # A mistake if anything uses it; then nothing is built.
      return gin.config.ConfigurableReference(value.name, value.evaluate)
    if isinstance(value, dict):
      return {self.gin_value(key): self.gin_value(item)
              for key, item in value.items()}
    if isinstance(value, (list, tuple)):
      return type(value)(self.gin_value(item) for item in value)
    return value

  def look_up(self, selector: str) -> Any:
    """gin's record of a configurable: `.selector`, `.wrapped`; None if unknown."""
    name = selector.removeprefix(f'{self._module}.')
    if name not in self._configurables:
      return None
    return gin.config.ConfigurableReference(
        f'{self._module}.{name}', False).configurable

  def _refuse_strangers(self, binding: Binding) -> None:
    """Notes what a value would call that is none of the configurables.

    In every binding, used or not, overridden or not: a file that names such
    things is not what it seems.
    """
    user = '/'.join(filter(None, (binding.scope, binding.selector)))
    user = '.'.join(filter(None, (user, binding.parameter)))
    for item in references(binding.value):
      if isinstance(item, Reference):
        name = item.name.split('/')[-1]
        if self.look_up(name) is None:
          self.mistakes.append(
              f'{binding.place}: {user}: there is no {str(item)!r}'
              + did_you_mean(name, self._configurables))

  def _add_parameter(self, binding: Binding) -> None:
    configurable = self.look_up(binding.selector)
    if configurable is None:
      self.mistakes.append(
          f'{binding.place}: nothing called {binding.selector!r} can be '
          'configured' + did_you_mean(binding.selector, self._configurables))
      return
    known = _parameter_names(configurable.wrapped)
    if known is not None and binding.parameter not in known:
      hint = did_you_mean(binding.parameter, known)
      self.mistakes.append(
          f'{binding.place}: {binding.selector} has no parameter '
          f'{binding.parameter!r}{hint}')
      self.dropped |= {(configurable.selector, name) for name in known
                       if hint == f'; did you mean {name!r}?'}
      return
    self._parameters.setdefault(
        (binding.scope, configurable.selector), {})[binding.parameter] = binding

  def _find_unused_macros(self, bindings: Sequence[Binding]) -> None:
    # A use that a later binding overrides counts: the knob is a real one.
    used = {item.name for binding in bindings
            for item in references(binding.value) if isinstance(item, Macro)}
    for name, binding in self._macros.items():
      if name in used:
        continue
      owners = [
          f'{owner}.{name.lower()}' for owner, target in self._configurables.items()
          if {name, name.lower()} & set(_parameter_names(target) or ())]
      if owners:
        hint = f'; did you mean {" or ".join(map(repr, owners))}?'
      else:
        hint = did_you_mean(name, used - {_REQUIRED})
      self.mistakes.append(
          f'{binding.place}: nothing uses the macro {name!r}{hint}')

  def _examine(self, value: Any, user: str, place: str, scope: tuple[str, ...],
               path: tuple[str, ...]) -> bool:
    """`examine`, further down.

    Args:
      value: of a parameter or a macro.
      user: the parameter or macro, for messages.
      place: where the value stands.
      scope: the gin scope in which references are called.
      path: the macros and references on the way here, to notice circles.

    Returns:
      Whether the value can be built.
    """
    is_sound = True
    for item in references(value):
      self._num_examined += 1
      if self._num_examined > MAX_REFERENCES or len(path) > MAX_CHAIN:
        self.mistakes.append(
            f'{place}: {user}: {item} is one of more than {MAX_REFERENCES} '
            f'references and macros, or {MAX_CHAIN} within each other; write '
            'values out')
        return False
      if str(item) in path:
        self.mistakes.append(
            f'{place}: {user}: {item} refers to itself; break the circle')
        is_sound = False
      elif isinstance(item, Macro):
        is_sound &= self._examine_macro(item, user, place, scope, path)
      else:
        is_sound &= self._examine_reference(item, user, place, scope, path)
    return is_sound

  def _examine_macro(self, macro, user, place, scope, path) -> bool:
    if macro.name in self._macros:
      binding = self._macros[macro.name]
      return self._examine(
          binding.value, macro.name, binding.place, scope, (*path, str(macro)))
    if macro.name == _REQUIRED:
      self.mistakes.append(
          f'{place}: {user} is required; give it with --gin_params '
          f'"{user} = …"')
    elif self._is_complete and macro.name not in self._unreadable:
      self.mistakes.append(
          f'{place}: {user} uses the macro {str(macro)!r}, which is not defined'
          + did_you_mean(macro.name, self._macros))
    return False

  def _examine_reference(self, reference, user, place, scope, path) -> bool:
    *own_scope, name = reference.name.split('/')
    configurable = self.look_up(name)
    if configurable is None:
      return False  # `_refuse_strangers` said so.
    if not reference.evaluate:
      self.mistakes.append(
          f'{place}: {user} = {reference} lacks its parentheses; write '
          f'{reference}()')
      return False
    scope = tuple(own_scope) or scope
    is_sound = self.find_missing(configurable.selector, scope)
    for parameter, binding in self.of(configurable.selector, scope).items():
      is_sound &= self._examine(
          binding.value, f'{name}.{parameter}', binding.place, scope,
          (*path, str(reference)))
    # Without a scope of its own, what it stands for depends on the caller.
    if is_sound and (own_scope or not scope):
      self.sound_references.append(reference)
    return is_sound

  def _below(self, value: Any, scope: tuple[str, ...]
             ) -> Iterator[tuple[str, Mapping[str, Binding]]]:
    """(name, bindings) of every configurable that a sound value refers to."""
    for item in references(value):
      if isinstance(item, Macro):
        yield from self._below(self._macros[item.name].value, scope)
        continue
      *own_scope, name = item.name.split('/')
      inner_scope = tuple(own_scope) or scope
      bound = self.of(self.look_up(name).selector, inner_scope)
      yield '/'.join([*own_scope, name]), bound
      for inner in bound.values():
        yield from self._below(inner.value, inner_scope)


def _parameter_names(target: Any) -> set[str] | None:
  """The parameters that can be bound; None if it takes any keyword."""
  parameters = inspect.signature(target).parameters.values()
  if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
    return None
  return {parameter.name for parameter in parameters}
