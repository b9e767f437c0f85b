"""Reads gin files: every statement with its place, nothing bound before all is right.

gin-config itself binds as it reads, forgets lines, and takes any unknown macro. Here
the files are parsed with gin's own parser into a `Config`; `gin_checks` looks at it as
a whole; only then does `Config.bind` hand it to gin.
"""

import dataclasses
import importlib
import io
import pathlib
import pkgutil
import tokenize

import gin
from gin import config_parser

import keras_switch
from keras_switch.cli.errors import ConfigError, Mistake, Place, nearest
from keras_switch.training.paths import is_remote, path_of

MACRO = "gin.macro"
COMMAND_LINE = "command line"


@dataclasses.dataclass(frozen=True)
class Unknown:
    """A reference `@name` to a name that gin does not know."""

    name: str
    evaluate: bool


@dataclasses.dataclass(frozen=True)
class Binding:
    """`scope/name.parameter = value`; a macro is `NAME/gin.macro.value`.

    Args:
        scope: the scopes, joined by slashes, or `""`.
        name: the configurable as written.
        parameter: the parameter, `""` where it is missing.
        value: a literal; references in it are `gin.config.ConfigurableReference`
            or `Unknown`; a missing value is `gin.REQUIRED`.
        place: where it stands.
    """

    scope: str
    name: str
    parameter: str
    value: object
    place: Place

    @property
    def key(self):
        return self.scope, self.name, self.parameter


@dataclasses.dataclass
class Config:
    """All statements of a command, the last value of each parameter.

    Args:
        bindings: by scope, name and parameter.
        imports: modules to import, each with its place.
    """

    bindings: dict = dataclasses.field(default_factory=dict)
    imports: dict = dataclasses.field(default_factory=dict)

    def add(self, binding: Binding):
        """Sets a value; `%gin.REQUIRED` never replaces one that is set."""
        if binding.value is gin.REQUIRED and binding.key in self.bindings:
            return
        self.bindings[binding.key] = binding

    @property
    def macros(self) -> dict[str, Binding]:
        """Returns the macros by name."""
        return {b.scope: b for b in self.bindings.values() if b.name == MACRO}

    def bind(self):
        """Makes this the configuration that gin holds, and no other."""
        gin.clear_config()
        for binding in self.bindings.values():
            gin.bind_parameter(binding.key, binding.value)

    def text(self) -> str:
        """Returns the bound configuration as a gin file; call `bind` before."""
        return "\n".join([*self._import_lines(), gin.config_str()])

    def operative_text(self) -> str:
        """Returns what has been used so far, defaults included, as a gin file."""
        return "\n".join([*self._import_lines(), gin.operative_config_str()])

    def _import_lines(self):
        return [f"import {module}" for module in self.imports]


class _Delegate(gin.config.ParserDelegate):
    """Keeps unknown references as data, so that they can be reported in their place."""

    def configurable_reference(self, scoped_selector, evaluate):
        try:
            return super().configurable_reference(scoped_selector, evaluate)
        except (ValueError, KeyError):
            return Unknown(scoped_selector, evaluate)

    def macro(self, name):
        return gin.REQUIRED if name == "gin.REQUIRED" else super().macro(name)


def config_root() -> pathlib.Path:
    """Returns the folder of the shipped gin files, installed or in a checkout."""
    package = pathlib.Path(keras_switch.__file__).parent
    installed, checkout = package / "configs", package.parent / "gin"
    return installed if installed.is_dir() else checkout


def find(name: str, search_paths=()) -> pathlib.Path:
    """Returns the file that `name` means: as a path, or under one of the folders.

    Args:
        name: address of a gin file, or its path: absolute, from the current folder, or
            from a folder of `search_paths` or `config_root()`.
        search_paths: folders to look in first.

    Raises:
        ConfigError: if there is none, with the nearest name.
    """
    if is_remote(name) and path_of(name).is_file():
        return path_of(name)
    folders = [pathlib.Path(), *map(pathlib.Path, search_paths), config_root()]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    shipped = [
        str(file.relative_to(folder).as_posix())
        for folder in folders[1:]
        for file in sorted(folder.rglob("*.gin"))
    ]
    looked = ", ".join(str(folder.resolve()) for folder in folders)
    hint = nearest(name, shipped)
    raise ConfigError([Mistake(f"No gin file {name!r}.{hint} Looked in: {looked}.")])


def read(files=(), bindings=(), search_paths=()) -> Config:
    """Returns the configuration of gin files and single bindings, later ones winning.

    Args:
        files: names of gin files; see `find`.
        bindings: statements such as `"TRAIN_STEPS = 100"`. A value that is no gin
            literal, such as a path, is taken as a string.
        search_paths: folders to look in before the shipped ones.

    Raises:
        ConfigError: if a file is missing, does not parse, or imports a module that
            cannot be imported.
    """
    config = Config()
    for name in files:
        _read_file(config, find(name, search_paths), search_paths)
    for binding in bindings:
        place = Place(COMMAND_LINE, 0, f"--gin.{binding}")
        _read_stream(config, io.StringIO(_quoted(binding)), (), place)
    return config


def _read_file(config, file, search_paths):
    with file.open() as stream:
        _read_stream(config, stream, search_paths)


def _read_stream(config, stream, search_paths, place=None):
    """Adds the statements of `stream`; `place` replaces where they say they stand."""
    try:
        for statement in config_parser.ConfigParser(stream, _Delegate()):
            at = place or _place(statement.location)
            _add_statement(config, statement, at, search_paths)
    except (SyntaxError, tokenize.TokenError) as error:
        at = place or _place_of(error, stream.name)
        raise ConfigError([Mistake(f"not gin: {error.args[0]}", at)]) from error


def _add_statement(config, statement, place, search_paths):
    match statement:
        case config_parser.BindingStatement(scope, name, "", value):
            scope = f"{scope}/{name}" if scope else name
            config.add(Binding(scope, MACRO, "value", value, place))
        case config_parser.BindingStatement(scope, name, parameter, value):
            config.add(Binding(scope, name, parameter, value, place))
        case config_parser.IncludeStatement(name):
            _include(config, name, place, search_paths)
        case config_parser.ImportStatement():
            import_module(statement.module, place)
            config.imports[statement.module] = place


def _include(config, name, place, search_paths):
    try:
        file = find(name, search_paths)
    except ConfigError as error:
        raise ConfigError([Mistake(str(error), place)]) from error
    _read_file(config, file, search_paths)


def import_module(name: str, place: Place):
    """Imports a module that a gin file or the command line names.

    Raises:
        ConfigError: if it cannot be imported.
    """
    try:
        importlib.import_module(name)
    except ImportError as error:
        hint = _nearest_module(name) if _is_missing(name, error) else ""
        mistake = Mistake(f"cannot import {name!r}: {error}.{hint}", place)
        raise ConfigError([mistake]) from error


def _is_missing(name, error) -> bool:
    """Returns whether there is no such module, rather than one that fails."""
    missing = getattr(error, "name", None)
    wanted = f"{name}.".startswith(f"{missing}.")
    return isinstance(error, ModuleNotFoundError) and wanted


def _nearest_module(name: str) -> str:
    """Returns a hint with the nearest modules beside the one that is missing."""
    package, _, last = name.rpartition(".")
    try:
        paths = importlib.import_module(package).__path__ if package else None
    except (ImportError, AttributeError):
        return _nearest_module(package)
    return nearest(last, (module.name for module in pkgutil.iter_modules(paths)))


def _place(location) -> Place:
    return Place(location.filename, location.line_num, location.line_content)


def _place_of(error, file: str) -> Place:
    """Returns where the parser, or the tokenizer below it, gave up."""
    where = error.args[1]
    line = where[0] if isinstance(where[0], int) else where[1]
    lines = path_of(file).read_text().splitlines()
    return Place(file, line, lines[line - 1] if line <= len(lines) else "")


def _quoted(binding: str) -> str:
    """Returns the statement, its value made a string if it is a bare word or path."""
    key, _, value = (part.strip() for part in binding.partition("="))
    if value[:1] in "@%([{'\"":
        return f"{key} = {value}"
    try:
        config_parser.ConfigParser(f"_ = {value}", _Delegate()).parse_statement()
    except (SyntaxError, tokenize.TokenError):
        value = repr(value)
    return f"{key} = {value}"
