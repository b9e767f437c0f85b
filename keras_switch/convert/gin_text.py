"""Gin files as data: what they bind, without importing or running what they name.

An operative config is a record of a run by another library, which is not here. So gin
itself cannot read it; its statements are Python literals with `@references` and
`%macros`, and that is what is read here.
"""

import ast
import dataclasses
import io
import pathlib
import tokenize

from keras_switch.convert.errors import ConversionError

_LAYOUT = (tokenize.NL, tokenize.COMMENT, tokenize.ENCODING, tokenize.ENDMARKER)
_MARK = "\0"


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
        header = None
        for line in _lines(text, self.source):
            if line.included is not None:
                include(line.included)
            elif line.block:
                header = line.name
            else:
                inside = line.inside and header is not None
                self._values[f"{header}.{line.name}" if inside else line.name] = (
                    line.value
                )

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
        found = {}
        for name, value in self._values.items():
            own, full = _scoped(name)
            if full[-2:] == [thing, parameter]:
                found[own] = value
        value = found.get(scope, found.get("", default))
        return self._resolved(value)

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


def _scoped(name):
    """Returns the scope of a binding and the words of its full name."""
    scope, _, full = name.rpartition("/")
    return scope, full.split(".")


@dataclasses.dataclass(frozen=True)
class _Line:
    name: str = ""
    value: object = None
    included: str | None = None
    block: bool = False
    inside: bool = False


def _lines(text, source):
    """Yields the statements of a gin file; imports are passed over."""
    tokens, depth = [], 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.INDENT:
                depth += 1
            elif token.type == tokenize.DEDENT:
                depth -= 1
            elif token.type == tokenize.NEWLINE:
                if tokens and tokens[0].string not in ("import", "from"):
                    yield _statement(tokens, depth > 0)
                tokens = []
            elif token.type not in _LAYOUT:
                tokens.append(token)
    except (tokenize.TokenError, SyntaxError, ValueError) as error:
        where = f" near line {tokens[0].start[0]}" if tokens else ""
        raise ConversionError(f"{source}{where} is no gin file: {error}") from error


def _statement(tokens, inside):
    words = [token.string for token in tokens]
    if words[0] == "include":
        return _Line(included=ast.literal_eval("".join(words[1:])))
    if words[-1] == ":" and "=" not in words:
        return _Line("".join(words[:-1]), block=True)
    if "=" not in words:
        raise ValueError(f"{' '.join(words)!r} binds nothing")
    at = words.index("=")
    return _Line("".join(words[:at]), _value(tokens[at + 1 :]), inside=inside)


def _value(tokens):
    """Returns a literal, with `@name` as `Reference` and `%NAME` as `Macro`."""
    text, at = [], 0
    while at < len(tokens):
        word = tokens[at].string
        at += 1
        if word in ("@", "%"):
            name, at = _name(tokens, at)
            word = repr(f"{_MARK}{word}{name}")
        text.append(word)
    return _revived(ast.literal_eval(" ".join(text)))


def _name(tokens, at):
    """Returns the name that begins at token `at`, and where it has ended."""
    name = ""
    while at < len(tokens):
        word = tokens[at].string
        if not (word in ("/", ".", "()") or word.isidentifier()):
            break
        if name and word.isidentifier() and name[-1] not in "/.":
            break
        name, at = name + word, at + 1
    call = [token.string for token in tokens[at : at + 2]] == ["(", ")"]
    return name + "()" * call, at + 2 * call


def _revived(value):
    if isinstance(value, str) and value.startswith(_MARK):
        kind = Reference if value[1] == "@" else Macro
        return kind(value[2:])
    if isinstance(value, list | tuple):
        return type(value)(map(_revived, value))
    if isinstance(value, dict):
        return {key: _revived(item) for key, item in value.items()}
    return value
