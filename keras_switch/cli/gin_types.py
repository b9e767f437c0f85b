"""Kinds of values: what a parameter is annotated with, and whether a gin value fits."""

import collections.abc
import dataclasses
import inspect
import types
import typing

import gin

Reference = gin.config.ConfigurableReference

_NUMBERS = {int: (int,), float: (int, float)}
_ANY = inspect.Parameter.empty


def leaves(value):
    """Yields the values that are no containers, of a gin value."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def mapped(value, function):
    """Returns a container with `function` of its items; anything else as it is."""
    if isinstance(value, dict):
        return {function(k): function(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(function, value))
    return value


def macro_name(value) -> str | None:
    """Returns the name of the macro that this value reads, if it is `%NAME`."""
    if isinstance(value, Reference) and value.configurable.wrapped is _macro():
        return "/".join(value.scopes)
    return None


def _macro():
    return Reference("gin.macro", False).configurable.wrapped


def parameters(thing, required=False) -> dict:
    """Returns the annotation of each parameter that a function or class takes.

    A class that passes `**kwargs` on also takes the parameters of its bases.

    Args:
        thing: function or class.
        required: only the parameters without a default.
    """
    found = {}
    for function in _constructors(thing):
        signature = inspect.signature(function)
        for name, parameter in signature.parameters.items():
            if name != "self" and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            ):
                found.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
            break
    hints = _hints(thing)
    return {
        name: hints.get(name, _kind_of_default(parameter.default))
        for name, parameter in found.items()
        if not required or parameter.default is _ANY
    }


def _constructors(thing):
    if not inspect.isclass(thing):
        return [thing]
    return [
        base.__init__
        for base in thing.__mro__
        if "__init__" in vars(base) and base is not object
    ]


def _hints(thing):
    function = thing.__init__ if inspect.isclass(thing) else thing
    try:
        return typing.get_type_hints(function)
    except NameError:  # annotations that exist for type checkers only
        return {}


@dataclasses.dataclass(frozen=True)
class Like:
    """Stands for a missing annotation: a literal of the kind of the default."""

    kind: type


def _kind_of_default(default):
    if isinstance(default, (bool, str)):
        return Like(type(default))
    return Like(float) if isinstance(default, (int, float)) else _ANY


def fits(value, hint) -> bool:
    """Returns whether a gin value can be what the annotation says.

    A reference fits if what it returns is annotated as fitting, or not annotated.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (_ANY, typing.Any, object):
        return True
    if isinstance(hint, Like):
        return value is None or isinstance(value, Reference) or fits(value, hint.kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if isinstance(value, Reference):
        return _reference_fits(value, hint)
    if hint in (None, type(None)):
        return value is None
    if hint in _NUMBERS:
        return isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool)
    if origin is None:
        return isinstance(value, hint) if inspect.isclass(hint) else True
    return _container_fits(value, origin, arguments)


def _reference_fits(reference, hint):
    if not reference.evaluate:
        kinds = (type, collections.abc.Callable)
        return hint in kinds or typing.get_origin(hint) in kinds
    thing = reference.configurable.wrapped
    result = thing if inspect.isclass(thing) else _hints(thing).get("return", _ANY)
    if result is _ANY or not (inspect.isclass(hint) and inspect.isclass(result)):
        return True
    return issubclass(result, hint)


def _container_fits(value, origin, arguments):
    if not (inspect.isclass(origin) and arguments):
        return True
    if issubclass(origin, collections.abc.Mapping):
        key, item = arguments
        return isinstance(value, dict) and all(
            fits(k, key) and fits(v, item) for k, v in value.items()
        )
    if not isinstance(value, (list, tuple)):
        return False
    if origin is tuple and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    return all(fits(item, arguments[0]) for item in value)


def spelled(hint) -> str:
    """Returns an annotation as a reader would write it."""
    hint = hint.kind if isinstance(hint, Like) else hint
    if inspect.isclass(hint) and typing.get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("typing.", "").replace("collections.abc.", "")


def described(value) -> str:
    """Returns a value and its kind."""
    if isinstance(value, Reference):
        return repr(value)
    return f"{value!r} ({type(value).__name__})"
