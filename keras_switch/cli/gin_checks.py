"""Finds what is wrong in a configuration before anything is built.

gin finds the first mistake when the object is called for, by a traceback. These checks
read the bindings as data, collect every mistake, and name the place and the nearest
name.
"""

import difflib
import pathlib
import re
from collections.abc import Iterator

import gin

from keras_switch.cli import gin_files, gin_types
from keras_switch.cli.errors import ConfigError, Mistake, nearest
from keras_switch.cli.gin_calls import calls, configurable, resolved
from keras_switch.cli.gin_files import MACRO, Binding, Config, Unknown
from keras_switch.cli.gin_types import leaves, parameters

# Read by the command itself rather than by a binding.
OWN_MACROS = ("MODULES", "MODEL_DIR")


def check(config: Config, command: str, known: tuple[str, ...]):
    """Raises one error with all mistakes in what `command` would use, if there are any.

    Args:
        config: statements as read.
        command: the configurable that will be called.
        known: names to suggest for unknown ones.

    Raises:
        ConfigError: for unknown names, parameters and macros, values of a wrong kind,
            and required values that are missing.
    """
    mistakes = [*unknown_names(config, known), *unset_macros(config)]
    mistakes += circular_macros(config)
    if not mistakes:  # what follows looks through references and macros
        mistakes = [*missing_values(config, command), *wrong_kinds(config)]
    mistakes += unread_macros(config)
    if mistakes:
        raise ConfigError(mistakes)


def unknown_names(config: Config, known) -> Iterator[Mistake]:
    """Yields names and parameters that do not exist, on either side of the `=`."""
    for binding in config.bindings.values():
        if binding.name != MACRO:
            yield from _unknown_target(binding, known)
        for leaf in leaves(binding.value):
            if isinstance(leaf, Unknown):
                name = leaf.name.rsplit("/", 1)[-1]
                hint = nearest(name, known)
                yield Mistake(f"nothing is called '@{name}'.{hint}", binding.place)


def _unknown_target(binding: Binding, known):
    thing = configurable(binding.name)
    if thing is None:
        hint = nearest(binding.name, known)
        yield Mistake(f"nothing is called {binding.name!r}.{hint}", binding.place)
    elif binding.parameter not in parameters(thing):
        hint = nearest(binding.parameter, parameters(thing))
        yield Mistake(
            f"{binding.name} has no parameter {binding.parameter!r}.{hint}",
            binding.place,
        )


def unset_macros(config: Config) -> Iterator[Mistake]:
    """Yields macros that a binding reads and nothing sets."""
    for name, readers in _readers(config).items():
        if name not in config.macros:
            files = [*_shipped_files_that_set(name)]
            remedy = f" or take a gin file that does: {', '.join(files)}" * bool(files)
            yield Mistake(
                f"%{name} is not set.{nearest(name, config.macros)} Set it with "
                f"--gin.{name}=...{remedy}.",
                readers[0].place,
            )


def unread_macros(config: Config) -> Iterator[Mistake]:
    """Yields macros that are probably misspelt: set, but read by nothing.

    On the command line each of them is a mistake; a file may set more than this
    command reads, so there only the near misses are.
    """
    readers = _readers(config)
    read = {*readers, *OWN_MACROS}
    for name, binding in config.macros.items():
        typed = binding.place.file == gin_files.COMMAND_LINE
        if name not in read and (
            typed or difflib.get_close_matches(name, read, 1, 0.8)
        ):
            hint = nearest(name, read)
            yield Mistake(f"nothing reads a macro {name!r}.{hint}", binding.place)


def circular_macros(config: Config) -> Iterator[Mistake]:
    """Yields macros whose value is, in the end, themselves."""
    for name, binding in config.macros.items():
        seen, todo = set(), [binding]
        while todo:
            for leaf in leaves(todo.pop().value):
                read = gin_types.macro_name(leaf)
                if read in config.macros and read not in seen:
                    seen.add(read)
                    todo.append(config.macros[read])
        if name in seen:
            yield Mistake(f"%{name} is made of itself.", binding.place)


def missing_values(config: Config, command: str) -> Iterator[Mistake]:
    """Yields required values that are not set, of all that `command` would call."""
    for binding in config.bindings.values():
        if binding.value is gin.REQUIRED:
            name = _written(binding)
            yield Mistake(
                f"{name} must be set: --gin.{name}=... or in a gin file.", binding.place
            )
    for call in calls(config, command):
        for name in parameters(call.thing, required=True):
            if name not in call.bindings:
                yield Mistake(
                    f"{call.name}.{name} must be set: --gin.{call.name}.{name}=... or "
                    "in a gin file.",
                    call.place,
                )


def wrong_kinds(config: Config) -> Iterator[Mistake]:
    """Yields values that are not of the kind that their parameter is annotated with."""
    for binding in config.bindings.values():
        value, place = resolved(binding.value, config), binding.place
        if binding.name == MACRO or value is gin.REQUIRED:
            continue
        hint = parameters(configurable(binding.name))[binding.parameter]
        if not gin_types.fits(value, hint):
            macro = gin_types.macro_name(binding.value)
            if macro:
                place = config.macros[macro].place
            yield Mistake(
                f"{_written(binding)} must be {gin_types.spelled(hint)}, not "
                f"{gin_types.described(value)}.",
                place,
            )


def _readers(config) -> dict[str, list[Binding]]:
    """Returns the bindings that read each macro."""
    readers = {}
    for binding in config.bindings.values():
        for leaf in leaves(binding.value):
            name = gin_types.macro_name(leaf)
            if name:
                readers.setdefault(name, []).append(binding)
    return readers


def _written(binding):
    if binding.name == MACRO:
        return binding.scope
    scope = f"{binding.scope}/" if binding.scope else ""
    return f"{scope}{binding.name}.{binding.parameter}"


def _shipped_files_that_set(macro):
    root: pathlib.Path = gin_files.config_root()
    for file in sorted(root.rglob("*.gin")):
        if re.search(rf"^{macro} *= *(?!%gin.REQUIRED)", file.read_text(), re.M):
            yield file.relative_to(root).as_posix()
