"""Gin files as data: what they bind, without importing or running what they name.

An operative config is a record of a run by another library, which is not here. gin's
own parser reads it; what gin would look up, `@references` and `%macros`, stays data.
"""

import dataclasses
import pathlib
import tokenize

from gin import config_parser

from keras_switch.convert.errors import ConversionError


@dataclasses.dataclass(frozen=True)
class Reference:
    """`@scope/name` in a gin file.

    Args:
        name: what stands behind the `@`.
    """

    name: str

    @property
    def last(self) -> str:
        """The last word: the class or function without module and scope."""
        return self.name.rstrip("()").rpartition("/")[2].rpartition(".")[2]


@dataclasses.dataclass(frozen=True)
class Macro:
    """`%NAME` in a gin file.

    Args:
        name: what stands behind the `%`.
    """

    name: str


class GinText:
    """The bindings of gin files, the later ones first in rank.

    Args:
        source: where they stand, for messages.
    """

    def __init__(self, source: str):
        self.source, self._values = source, {}

    def add(self, text: str, include):
        """Adds the bindings of a text.

        Args:
            text: contents of a gin file.
            include: function of the name of a file that adds its bindings.
        """
        for statement in _statements(text, self.source):
            if isinstance(statement, config_parser.IncludeStatement):
                include(statement.filename)
            elif isinstance(statement, config_parser.BindingStatement):
                self._values[_name(statement)] = statement.value

    def names(self) -> tuple[str, ...]:
        """Returns the names of all bindings, as written."""
        return tuple(self._values)

    def macro(self, name: str, default=None):
        """Returns the value of a macro."""
        return self._resolved(self._values.get(name, default))

    def get(self, thing: str, parameter: str, default=None, scope: str = ""):
        """Returns a parameter of a class or function.

        Args:
            thing: its name, without module.
            parameter: name of the parameter.
            default: what it is if nothing binds it.
            scope: the scope in which it is made; its own bindings go first.
        """
        found = self.everywhere(thing, parameter)
        return found.get(scope, found.get("", self._resolved(default)))

    def everywhere(self, thing: str, parameter: str) -> dict:
        """Returns what a parameter is bound to, by scope; see `get`."""
        found = {}
        for name, value in self._values.items():
            scope, full = _scoped(name)
            if full[-2:] == [thing, parameter]:
                found[scope] = self._resolved(value)
        return found

    def parameters(self, thing: str) -> set[str]:
        """Returns the names of the parameters of a class that are bound anywhere."""
        words = (_scoped(name)[1] for name in self._values)
        return {full[-1] for full in words if full[:-1] and full[-2] == thing}

    def _resolved(self, value, depth=0):
        if isinstance(value, Macro):
            # "%module.CONSTANT" is a value of Python's, known by its last word.
            if value.name not in self._values:
                constant = "." in value.name and value.name != "gin.REQUIRED"
                return value.name.rpartition(".")[2] if constant else None
            if depth > 50:
                raise ConversionError(
                    f"{self.source}: the macro {value.name} leads back to itself."
                )
            return self._resolved(self._values[value.name], depth + 1)
        if isinstance(value, list | tuple):
            return type(value)(self._resolved(item, depth) for item in value)
        return value


def read(path: pathlib.Path, known=None) -> GinText:
    """Returns the bindings of a gin file and of those that it includes.

    Args:
        path: the file.
        known: texts of files by name, for includes that are not beside it.

    Raises:
        ConversionError: if the file cannot be parsed or an included one is not there.
    """
    gin = GinText(str(path))

    def include(name):
        for folder in (path.parent, *path.parent.parents):
            if (folder / name).is_file():
                return gin.add((folder / name).read_text(), include)
        if name in (known or {}):
            return gin.add(known[name], include)
        raise ConversionError(
            f"{path} includes {name!r}, which is neither beside it nor known here: put "
            "it there, or give the operative config, which includes nothing."
        )

    gin.add(path.read_text(), include)
    return gin


class _Delegate(config_parser.ParserDelegate):
    """Keeps what a value refers to as data."""

    def configurable_reference(self, scoped_configurable_name, evaluate):
        return Reference(scoped_configurable_name + "()" * evaluate)

    def macro(self, macro_name):
        return Macro(macro_name)


def _statements(text, source):
    try:
        yield from config_parser.ConfigParser(text, _Delegate())
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        raise ConversionError(f"{source} is no gin file: {error}") from error


def _name(binding):
    """Returns the name of a binding as it is written in one line."""
    parameter = [binding.arg_name] if binding.arg_name else []
    name = ".".join([binding.selector, *parameter])
    return f"{binding.scope}/{name}" if binding.scope else name


def _scoped(name):
    """Returns the scope of a binding and the words of its full name."""
    scope, _, full = name.rpartition("/")
    return scope, full.split(".")
