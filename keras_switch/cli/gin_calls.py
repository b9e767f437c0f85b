"""What a command would call: gin's rules for scopes and macros, followed as data."""

import dataclasses
from collections.abc import Iterator

from keras_switch.cli import gin_types
from keras_switch.cli.errors import Place
from keras_switch.cli.gin_files import Config
from keras_switch.cli.gin_types import Reference, leaves


@dataclasses.dataclass(frozen=True)
class Call:
    """A configurable that a command would call, and the bindings it would get.

    Args:
        name: its name as written.
        thing: the function or class.
        place: where it is asked for, `None` for the command itself.
        bindings: by parameter.
    """

    name: str
    thing: object
    place: Place | None
    bindings: dict


def calls(config: Config, command: str) -> Iterator[Call]:
    """Yields all that `command` would call, itself first, as gin resolves scopes."""
    todo, done = [(command, (), None)], set()
    while todo:
        name, scope, place = todo.pop(0)
        if (name, scope) in done:
            continue
        done.add((name, scope))
        bindings = _bindings_of(config, name, scope)
        yield Call(name, configurable(name), place, bindings)
        for binding in bindings.values():
            for selector, inner in _references(binding.value, scope, config):
                todo.append((selector, inner, binding.place))


def used_bindings(config: Config, command: str) -> set:
    """Returns the keys of the bindings that `command` would read, macros included."""
    used = set()
    for call in calls(config, command):
        for binding in call.bindings.values():
            used.add(binding.key)
            used |= {macro.key for macro in _macros_in(binding.value, config)}
    return used


def configurable(name: str):
    """Returns the function or class that gin knows by this name, or `None`."""
    try:
        return Reference(name, False).configurable.wrapped
    except (ValueError, KeyError):
        return None


def _bindings_of(config, name, scope):
    """Returns the bindings of `name` in `scope`: inner scopes win over outer ones."""
    bindings = {}
    for depth in range(len(scope) + 1):
        outer = "/".join(scope[:depth])
        for binding in config.bindings.values():
            if binding.scope == outer and _same(binding.name, name):
                bindings[binding.parameter] = binding
    return bindings


def _same(name, other):
    return name == other or configurable(name) is configurable(other) is not None


def resolved(value, config):
    """Returns the value with macros replaced by theirs, references kept."""
    macro = gin_types.macro_name(value)
    if macro:
        return resolved(config.macros[macro].value, config)
    return gin_types.mapped(value, lambda item: resolved(item, config))


def _references(value, scope, config):
    """Yields the names that a value refers to, each with the scope of its call.

    A macro is itself a scope for gin, in place of the one that it is read in.
    """
    for leaf in leaves(value):
        macro = gin_types.macro_name(leaf)
        if macro:
            inner = tuple(macro.split("/"))
            yield from _references(config.macros[macro].value, inner, config)
        elif isinstance(leaf, Reference):
            yield leaf.selector, tuple(leaf.scopes) or scope


def _macros_in(value, config):
    for leaf in leaves(value):
        name = gin_types.macro_name(leaf)
        if name:
            yield config.macros[name]
            yield from _macros_in(config.macros[name].value, config)
