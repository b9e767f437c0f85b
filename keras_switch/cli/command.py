"""From flags to a call: which gin files a command reads, and how it is made and run."""

import functools
import re

import gin

from keras_switch.cli import devices, gin_checks, gin_files, gin_names, gin_types
from keras_switch.cli.errors import ConfigError, Mistake, Place
from keras_switch.cli.flags import Flags
from keras_switch.cli.gin_files import Config
from keras_switch.training.paths import path_of

# Gin files of a command when the command line names none.
DEFAULT_FILES = {"eval": ["runs/eval.gin"], "demo": ["runs/demo.gin"]}
# Those of a command that come before the ones that the command line names.
FIRST_FILES = {
    **{"plan": ["runs/plan.gin"], "train": ["runs/train.gin"]},
    **{"cache": ["runs/cache.gin"], "cache-logits": ["runs/cache_logits.gin"]},
    **{"convert": ["runs/convert.gin"], "upcycle": ["runs/upcycle.gin"]},
    "prune-experts": ["runs/prune_experts.gin"],
    **{"finetune": ["runs/finetune.gin"], "distill": ["runs/distill.gin"]},
}
FIRST_FILES |= {"export": ["runs/export.gin"], "infer": ["runs/infer.gin"]}
FIRST_FILES |= {"serve": ["runs/serve.gin"]}
# Commands that read the configuration of the run whose folder they get.
OF_A_RUN = ("eval", "export", "infer")
# Read behind it, since it means what the run itself started from by the same names.
BEHIND_RUN = {"export": ["runs/of_a_run.gin"], "infer": ["runs/of_a_run.gin"]}
# Commands with a folder of their own; eval writes into that of another run.
WITH_FOLDER = ("train", "finetune", "distill", "demo")
SAVED = "config.gin"


def run(flags: Flags):
    """Runs the command of `flags`.

    The configuration is saved in the folder of the run, as it was read (`config.gin`)
    and with all defaults that it uses (`operative_config.gin`).

    Raises:
        ConfigError: if the configuration is wrong.
    """
    config = read(flags)
    if not flags.dry_run:
        devices.start(config, flags.command)
    call = made(config, flags.command)
    if flags.dry_run:
        print(config.text())
        return
    if flags.command in WITH_FOLDER:
        call = functools.partial(call, save_config=lambda f: save(config, f))
    call()


def read(flags: Flags) -> Config:
    """Returns the checked configuration that the flags ask for."""
    gin_names.register()
    sources = _files(flags), _bindings(flags), flags.search_paths
    config = gin_files.read(*sources)
    modules = [*_modules(config)]
    for name, place in modules:
        gin_files.import_module(name, place)
    if modules:  # which may have given gin more names
        config = gin_files.read(*sources)
    gin_checks.check(config, gin_names.COMMANDS[flags.command], gin_names.names())
    return config


def made(config: Config, command: str):
    """Returns the command as a function, its arguments made as `config` says."""
    config.bind()
    try:
        return gin.get_configurable(gin_names.COMMANDS[command])()
    except (ValueError, TypeError) as error:
        raise ConfigError([_explained(error, config)]) from error


def save(config: Config, folder):
    """Writes the configuration into the folder of a run, once for each kind."""
    folder = path_of(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SAVED).write_text(config.text())
    (folder / f"operative_{SAVED}").write_text(config.operative_text())


def _files(flags):
    files = list(flags.gin_files or DEFAULT_FILES.get(flags.command, ()))
    if flags.command in OF_A_RUN and flags.model_dir:
        saved = path_of(flags.model_dir).absolute() / SAVED
        if saved.is_file():
            _check_one_model(flags)
            files = [str(saved), *BEHIND_RUN.get(flags.command, ()), *files]
        if flags.command in DEFAULT_FILES and not (flags.gin_files or saved.is_file()):
            message = f"There is no run in {flags.model_dir!r}: there is no {SAVED}."
            raise ConfigError([Mistake(f"{message} Give the --model_dir of a run.")])
    return [*FIRST_FILES.get(flags.command, ()), *files]


def _check_one_model(flags):
    """Refuses a source beside a run, whose own source is not what is meant."""
    given = [b for b in flags.bindings if re.match(r"SOURCE\s*=", b)]
    if flags.command in BEHIND_RUN and given:
        message = f"{given[-1]!r} and the run {flags.model_dir!r} are both given"
        raise ConfigError([Mistake(f"{message}: give one of them.")])


def _bindings(flags):
    own = [f"MODEL_DIR = {flags.model_dir!r}"] if flags.model_dir else []
    return [*flags.bindings, *own]


def _modules(config):
    """Yields the modules that the macro MODULES names, and the place that does."""
    binding = config.macros.get("MODULES")
    if binding is None:
        return
    names = [binding.value] if isinstance(binding.value, str) else binding.value
    if not gin_types.fits(names, list[str]):
        message = f"MODULES must be a list of names of modules, not {names!r}."
        raise ConfigError([Mistake(message, binding.place)])
    for name in names:
        yield name, binding.place


def _explained(error, config) -> Mistake:
    """Returns the mistake behind an exception that gin passed on, with its place."""
    message, _, call = str(error).partition("\n  In call to configurable '")
    name = call.partition("'")[0]
    return Mistake(message, _place_of(name, message, config))


def _place_of(name, message, config) -> Place | None:
    """Returns where the parameter is set that the message is about, as far as known."""
    words = set(re.findall(r"\w+", message))
    candidates = [b for b in config.bindings.values() if b.name == name]
    named = [b for b in candidates if b.parameter in words] or candidates
    return named[-1].place if named else None
